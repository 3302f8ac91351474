package kubernetes

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The validation itself rejects invalid objects.
func TestValidationRejectsMistakes(t *testing.T) {
	objects := build(t, "overlays/production")
	for _, c := range []struct {
		about, kind, name string
		value             any
		path              []string
		want              string
	}{
		{"a misspelled field", "Deployment", "web-tier", int64(3), []string{"spec", "minReadySecond"}, "unknown field"},
		{"a misspelled field deep inside", "Deployment", "logic-tier", true, []string{"spec", "template", "spec", "securityContext", "runAsNonroot"}, "unknown field"},
		{"a value of another type", "Service", "web-tier", "eighty", []string{"spec", "ports"}, "cannot unmarshal"},
		{"a selector that matches no pod", "Deployment", "web-tier", "web", []string{"spec", "selector", "matchLabels", "app.kubernetes.io/name"}, "does not match template"},
		{"an unknown strategy", "Deployment", "web-tier", "Rolling", []string{"spec", "strategy", "type"}, "Unsupported value"},
		{"a maximum below the minimum", "HorizontalPodAutoscaler", "web-tier", int64(1), []string{"spec", "maxReplicas"}, "must be greater than or equal"},
		{"two exclusive fields", "PodDisruptionBudget", "web-tier", int64(1), []string{"spec", "minAvailable"}, "cannot be both set"},
		{"an unknown policy type", "NetworkPolicy", "deny", []any{"Inward"}, []string{"spec", "policyTypes"}, "Unsupported value"},

		{"a misspelled field of CloudNativePG", "Cluster", "data-tier", []any{}, []string{"spec", "postgresql", "pg_hbaa"}, "unknown fields"},
		{"an unknown value", "Cluster", "data-tier", "perhaps", []string{"spec", "primaryUpdateStrategy"}, "Unsupported value"},
		{"a number out of bounds", "Cluster", "data-tier", int64(0), []string{"spec", "instances"}, "should be greater than or equal"},
		{"a misspelled field of RabbitMQ", "RabbitmqCluster", "broker", "x", []string{"spec", "tls", "secret"}, "unknown fields"},
		{"an unknown key algorithm", "Certificate", "web-tier", "DSA", []string{"spec", "privateKey", "algorithm"}, "Unsupported value"},
		{"a value that is no list", "HTTPRoute", "web-tier", "forever", []string{"spec", "rules"}, "must be of type array"},
		{"a misspelled field of the store", "ObjectStore", "data-tier", "x", []string{"spec", "configuration", "endpoint"}, "unknown fields"},
	} {
		t.Run(c.about, func(t *testing.T) {
			object := objects.named(c.kind, c.name).DeepCopy()
			if err := unstructured.SetNestedField(object.Object, c.value, c.path...); err != nil {
				t.Fatal(err)
			}
			var err error
			if builtIn(object) {
				err = create(object)
			} else {
				err = definitionOf(t, object.GroupVersionKind()).check(object)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAdmissionRejectsPodWithCapabilities(t *testing.T) {
	objects := build(t, "base")
	template := typed[appsv1.Deployment](t, objects.named("Deployment", "web-tier")).Spec.Template
	template.Spec.Containers[0].SecurityContext.Capabilities = nil
	if admission(t, objects)(&template).Allowed {
		t.Error("a pod with capabilities is admitted")
	}
}

func TestPoliciesDetectOpenRule(t *testing.T) {
	objects := build(t, "base")
	policies, endpoints := objects.policies(t), endpoints(t, objects)
	hole := &networkingv1.NetworkPolicy{}
	hole.Namespace = "techtalks"
	hole.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	hole.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	hole.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	if !append(policies, hole).allow(t, endpoints["web-tier"], endpoints["data-tier"], 5432, corev1.ProtocolTCP) {
		t.Error("a policy that allows everything is not detected")
	}
}

func TestSettingsDetectMisspelling(t *testing.T) {
	objects := build(t, "base")
	c := typed[appsv1.Deployment](t, objects.named("Deployment", "web-tier")).Spec.Template.Spec.Containers[0]
	c.Env = append(c.Env, corev1.EnvVar{Name: "LOGIC_ADRESS"})
	if err := checkSettings(t, objects, "web-tier", c); err == nil {
		t.Error("a misspelled setting is not detected")
	}
	c.Env, c.Args = nil, []string{"serve", "--logic-adress=x"}
	if err := checkSettings(t, objects, "web-tier", c); err == nil {
		t.Error("a misspelled flag is not detected")
	}
}
