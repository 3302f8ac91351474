package kubernetes

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// drainSeconds bounds the time between the signal and the exit of a program: 5 seconds for
// calls, 3 for streams, and a margin.
const drainSeconds = 15

// A rolling update starts pods before it stops others, and lets those finish their requests.
func TestRollingUpdateFailsNoRequest(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, object := range objects.ofKind("Deployment") {
			d := typed[appsv1.Deployment](t, object)
			if r := d.Spec.Strategy.RollingUpdate; r == nil || r.MaxUnavailable == nil || r.MaxUnavailable.IntValue() != 0 || r.MaxUnavailable.Type != intstr.Int {
				t.Errorf("%s: maxUnavailable must be 0", id(object))
			}
			spec := d.Spec.Template.Spec
			var pause int64
			for _, c := range spec.Containers {
				serves := false
				for _, port := range c.Ports {
					serves = serves || port.Name != "admin"
				}
				// The kubelet waits before the signal, or the program after it.
				if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
					pause = c.Lifecycle.PreStop.Sleep.Seconds
				}
				if delay, err := time.ParseDuration(environmentOf(t, objects, c)["DRAIN_DELAY"]); err == nil {
					pause += int64(delay.Seconds())
				}
				if serves && pause < 5 {
					t.Errorf("%s: %s stops %d s after the signal, want at least 5", id(object), c.Name, pause)
				}
			}
			if grace := spec.TerminationGracePeriodSeconds; grace == nil || *grace < pause+drainSeconds {
				t.Errorf("%s: the grace period is shorter than the pause of %d s and the drain", id(object), pause)
			}
		}
	})
}

func selects(t *testing.T, s *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(set))
}

// minPods returns the minimum number of pods of an owner.
func minPods(t *testing.T, objects manifests, owner *unstructured.Unstructured) int {
	t.Helper()
	switch owner.GetKind() {
	case "Cluster":
		n, _, _ := unstructured.NestedInt64(owner.Object, "spec", "instances")
		return int(n)
	case "RabbitmqCluster":
		n, _, _ := unstructured.NestedInt64(owner.Object, "spec", "replicas")
		return int(n)
	}
	if scaler := objects.named("HorizontalPodAutoscaler", owner.GetName()); scaler != nil {
		return int(*typed[autoscalingv2.HorizontalPodAutoscaler](t, scaler).Spec.MinReplicas)
	}
	return 0
}

// Nodes can be drained: every budget allows one disruption, and never of the last pod.
func TestDisruptionBudgetsAllowOneEviction(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		covered := map[string]bool{}
		for _, object := range objects.ofKind("PodDisruptionBudget") {
			budget := typed[policyv1.PodDisruptionBudget](t, object)
			var owners []*unstructured.Unstructured
			for _, p := range objects.pods(t) {
				if selects(t, budget.Spec.Selector, p.labels) {
					owners = append(owners, p.owner)
				}
			}
			if len(owners) != 1 {
				t.Errorf("%s: selects the pods of %d owners, want 1", id(object), len(owners))
				continue
			}
			covered[id(owners[0])] = true
			if n := budget.Spec.MaxUnavailable; n == nil || n.IntValue() != 1 || minPods(t, objects, owners[0]) < 2 {
				t.Errorf("%s: allows no eviction, or that of the last pod", id(object))
			}
		}
		for _, p := range objects.pods(t) {
			// CloudNativePG creates its own budgets.
			if kind := p.owner.GetKind(); (kind == "Deployment" || kind == "RabbitmqCluster") && !covered[id(p.owner)] {
				t.Errorf("%s: no disruption budget", id(p.owner))
			}
		}
	})
}

func TestOnlyAutoscalersSetReplicas(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, object := range objects.ofKind("Deployment") {
			if objects.named("HorizontalPodAutoscaler", object.GetName()) == nil {
				t.Errorf("%s: no autoscaler", id(object))
			}
			if _, found, _ := unstructured.NestedInt64(object.Object, "spec", "replicas"); found {
				t.Errorf("%s: sets replicas, so that every apply would override its autoscaler", id(object))
			}
		}
		for _, object := range objects.ofKind("HorizontalPodAutoscaler") {
			target := typed[autoscalingv2.HorizontalPodAutoscaler](t, object).Spec.ScaleTargetRef
			if objects.named(target.Kind, target.Name) == nil {
				t.Errorf("%s: %s/%s does not exist", id(object), target.Kind, target.Name)
			}
		}
	})
}

func TestPodsSpreadByTheirOwnLabels(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, object := range objects.ofKind("Deployment") {
			template := typed[appsv1.Deployment](t, object).Spec.Template
			if len(template.Spec.TopologySpreadConstraints) == 0 {
				t.Errorf("%s: no topology spread constraints", id(object))
			}
			for _, c := range template.Spec.TopologySpreadConstraints {
				for _, p := range objects.pods(t) {
					if want := p.owner == object; selects(t, c.LabelSelector, p.labels) != want {
						t.Errorf("%s: constraint %s: selects %s is %v, want %v", id(object), c.TopologyKey, id(p.owner), !want, want)
					}
				}
			}
		}
	})
}
