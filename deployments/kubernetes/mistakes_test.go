package kubernetes

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The judges can say no.
func TestMistakesAreFound(t *testing.T) {
	made := build(t, "overlays/production")
	for _, c := range []struct {
		about, kind, name string
		value             any
		at                []string
		says              string
	}{
		{"a misspelled field", "Deployment", "web-tier", int64(3), []string{"spec", "minReadySecond"}, "unknown field"},
		{"a misspelled field deep inside", "Deployment", "logic-tier", true, []string{"spec", "template", "spec", "securityContext", "runAsNonroot"}, "unknown field"},
		{"a value of another type", "Service", "web-tier", "eighty", []string{"spec", "ports"}, "cannot unmarshal"},
		{"a selector of nobody's", "Deployment", "web-tier", "web", []string{"spec", "selector", "matchLabels", "app.kubernetes.io/name"}, "does not match template"},
		{"no such strategy", "Deployment", "web-tier", "Rolling", []string{"spec", "strategy", "type"}, "Unsupported value"},
		{"more than there may be", "HorizontalPodAutoscaler", "web-tier", int64(1), []string{"spec", "maxReplicas"}, "must be greater than or equal"},
		{"two budgets in one", "PodDisruptionBudget", "web-tier", int64(1), []string{"spec", "minAvailable"}, "cannot be both set"},
		{"no such direction", "NetworkPolicy", "deny", []any{"Inward"}, []string{"spec", "policyTypes"}, "Unsupported value"},

		{"a misspelled field of CloudNativePG", "Cluster", "data-tier", []any{}, []string{"spec", "postgresql", "pg_hbaa"}, "unknown fields"},
		{"a choice that is not there", "Cluster", "data-tier", "perhaps", []string{"spec", "primaryUpdateStrategy"}, "Unsupported value"},
		{"a number out of bounds", "Cluster", "data-tier", int64(0), []string{"spec", "instances"}, "should be greater than or equal"},
		{"a misspelled field of RabbitMQ", "RabbitmqCluster", "broker", "x", []string{"spec", "tls", "secret"}, "unknown fields"},
		{"a key of no kind", "Certificate", "web-tier", "DSA", []string{"spec", "privateKey", "algorithm"}, "Unsupported value"},
		{"a timeout that is no duration", "HTTPRoute", "web-tier", "forever", []string{"spec", "rules"}, "must be of type array"},
		{"a misspelled field of the store", "ObjectStore", "data-tier", "x", []string{"spec", "configuration", "endpoint"}, "unknown fields"},
	} {
		t.Run(c.about, func(t *testing.T) {
			object := made.named(c.kind, c.name).DeepCopy()
			if err := unstructured.SetNestedField(object.Object, c.value, c.at...); err != nil {
				t.Fatal(err)
			}
			var err error
			if builtIn(object) {
				err = create(object)
			} else {
				err = definitionOf(t, object.GroupVersionKind()).check(object)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestAPodThatAsksForMoreIsFound(t *testing.T) {
	made := build(t, "base")
	template := typed[appsv1.Deployment](t, made.named("Deployment", "web-tier")).Spec.Template
	template.Spec.Containers[0].SecurityContext.Capabilities = nil
	if admission(t, made)(&template).Allowed {
		t.Error("a pod with capabilities is taken")
	}
}

func TestAHoleInTheNetworkIsFound(t *testing.T) {
	made := build(t, "base")
	policies, places := made.policies(t), places(t, made)
	hole := &networkingv1.NetworkPolicy{}
	hole.Namespace = "techtalks"
	hole.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	hole.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	hole.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	if !append(policies, hole).pass(t, places["web-tier"], places["data-tier"], 5432, corev1.ProtocolTCP) {
		t.Error("what is open is not seen")
	}
}

func TestASettingThatIsNoneIsFound(t *testing.T) {
	made := build(t, "base")
	c := typed[appsv1.Deployment](t, made.named("Deployment", "web-tier")).Spec.Template.Spec.Containers[0]
	c.Env = append(c.Env, corev1.EnvVar{Name: "LOGIC_ADRESS"})
	if err := misunderstood(t, made, "web-tier", c); err == nil {
		t.Error("a misspelled setting is not seen")
	}
	c.Env, c.Args = nil, []string{"serve", "--logic-adress=x"}
	if err := misunderstood(t, made, "web-tier", c); err == nil {
		t.Error("a misspelled flag is not seen")
	}
}
