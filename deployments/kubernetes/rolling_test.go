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

// drainTime is what the programs take at most between the signal and their end, with
// room: 5 seconds for calls, 3 for streams.
const drainTime = 15

// A rolling update takes nobody away before another is there, and nobody in the middle
// of what is sent to it.
func TestARollingUpdateFailsNoRequest(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, object := range made.ofKind("Deployment") {
			d := typed[appsv1.Deployment](t, object)
			if r := d.Spec.Strategy.RollingUpdate; r == nil || r.MaxUnavailable == nil || r.MaxUnavailable.IntValue() != 0 || r.MaxUnavailable.Type != intstr.Int {
				t.Errorf("%s: an update takes away before it brings", id(object))
			}
			spec := d.Spec.Template.Spec
			var pause int64
			for _, c := range spec.Containers {
				answers := false
				for _, port := range c.Ports {
					answers = answers || port.Name != "admin"
				}
				// Either the kubelet waits before the signal, or the program after it.
				if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
					pause = c.Lifecycle.PreStop.Sleep.Seconds
				}
				if delay, err := time.ParseDuration(environmentOf(t, made, c)["DRAIN_DELAY"]); err == nil {
					pause += int64(delay.Seconds())
				}
				if answers && pause < 5 {
					t.Errorf("%s: %s stops before its callers know", id(object), c.Name)
				}
			}
			if grace := spec.TerminationGracePeriodSeconds; grace == nil || *grace < pause+drainTime {
				t.Errorf("%s: killed before it has ended: the pause is %d s", id(object), pause)
			}
		}
	})
}

func selects(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

// fewest is how many pods of an owner there are when there is least to do.
func fewest(t *testing.T, made manifests, owner *unstructured.Unstructured) int {
	t.Helper()
	switch owner.GetKind() {
	case "Cluster":
		n, _, _ := unstructured.NestedInt64(owner.Object, "spec", "instances")
		return int(n)
	case "RabbitmqCluster":
		n, _, _ := unstructured.NestedInt64(owner.Object, "spec", "replicas")
		return int(n)
	}
	if scaler := made.named("HorizontalPodAutoscaler", owner.GetName()); scaler != nil {
		return int(*typed[autoscalingv2.HorizontalPodAutoscaler](t, scaler).Spec.MinReplicas)
	}
	return 0
}

// A host can be emptied: of every pod one may go, and not the last one.
func TestOneMayGo(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		covered := map[string]bool{}
		for _, object := range made.ofKind("PodDisruptionBudget") {
			budget := typed[policyv1.PodDisruptionBudget](t, object)
			var owners []*unstructured.Unstructured
			for _, p := range made.pods(t) {
				if selects(t, budget.Spec.Selector, p.labels) {
					owners = append(owners, p.owner)
				}
			}
			if len(owners) != 1 {
				t.Errorf("%s: selects the pods of %d owners", id(object), len(owners))
				continue
			}
			covered[id(owners[0])] = true
			if n := budget.Spec.MaxUnavailable; n == nil || n.IntValue() != 1 || fewest(t, made, owners[0]) < 2 {
				t.Errorf("%s: none may go, or the last one", id(object))
			}
		}
		for _, p := range made.pods(t) {
			// CloudNativePG makes budgets of its own.
			if kind := p.owner.GetKind(); (kind == "Deployment" || kind == "RabbitmqCluster") && !covered[id(p.owner)] {
				t.Errorf("%s: all may go at once", id(p.owner))
			}
		}
	})
}

func TestWhoeverScalesHasNobodyBesideThem(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, object := range made.ofKind("Deployment") {
			if made.named("HorizontalPodAutoscaler", object.GetName()) == nil {
				t.Errorf("%s: nobody scales it", id(object))
			}
			if _, says, _ := unstructured.NestedInt64(object.Object, "spec", "replicas"); says {
				t.Errorf("%s: every apply would undo what its autoscaler did", id(object))
			}
		}
		for _, object := range made.ofKind("HorizontalPodAutoscaler") {
			target := typed[autoscalingv2.HorizontalPodAutoscaler](t, object).Spec.ScaleTargetRef
			if made.named(target.Kind, target.Name) == nil {
				t.Errorf("%s: there is no %s/%s", id(object), target.Kind, target.Name)
			}
		}
	})
}

func TestPodsSpreadByTheirOwnLabels(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, object := range made.ofKind("Deployment") {
			template := typed[appsv1.Deployment](t, object).Spec.Template
			if len(template.Spec.TopologySpreadConstraints) == 0 {
				t.Errorf("%s: all may be on one host", id(object))
			}
			for _, c := range template.Spec.TopologySpreadConstraints {
				for _, p := range made.pods(t) {
					if own := p.owner == object; selects(t, c.LabelSelector, p.labels) != own {
						t.Errorf("%s: spreads over %s by other pods: %s", id(object), c.TopologyKey, id(p.owner))
					}
				}
			}
		}
	})
}
