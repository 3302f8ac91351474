package kubernetes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// admission is how the namespace says that pods are judged.
func admission(t *testing.T, made manifests) func(*corev1.PodTemplateSpec) policy.AggregateCheckResult {
	t.Helper()
	labels := made.ofKind("Namespace")[0].GetLabels()
	level, err := api.ParseLevel(labels[api.EnforceLevelLabel])
	if err != nil || level != api.LevelRestricted {
		t.Fatalf("the namespace asks for %q: %v", level, err)
	}
	version, err := api.ParseVersion(labels[api.EnforceVersionLabel])
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(pod *corev1.PodTemplateSpec) policy.AggregateCheckResult {
		return policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: version}, &pod.ObjectMeta, &pod.Spec))
	}
}

func TestTheNamespaceTakesEveryPod(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		judge := admission(t, made)
		for _, p := range made.pods(t) {
			if p.template != nil {
				if result := judge(p.template); !result.Allowed {
					t.Errorf("%s: %s", id(p.owner), result.ForbiddenDetail())
				}
			}
		}
	})
}

// What goes beyond that: nothing to write on, nothing to ask the cluster with, bounds,
// and probes of whoever is to stay.
func TestPodsAreBoundedAndWatched(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, p := range made.pods(t) {
			if p.template == nil {
				continue
			}
			spec := p.template.Spec
			if mount := spec.AutomountServiceAccountToken; mount == nil || *mount {
				t.Errorf("%s: its pods have a token for the cluster's API", id(p.owner))
			}
			for _, c := range spec.Containers {
				if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
					t.Errorf("%s: %s may write on its image", id(p.owner), c.Name)
				}
				for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
					_, asks := c.Resources.Requests[resource]
					_, bounded := c.Resources.Limits[resource]
					if !asks || !bounded {
						t.Errorf("%s: %s has no request or no limit of %s", id(p.owner), c.Name, resource)
					}
				}
				if p.owner.GetKind() == "Job" {
					continue
				}
				for which, path := range map[*corev1.Probe]string{c.StartupProbe: "/healthz", c.LivenessProbe: "/healthz", c.ReadinessProbe: "/readyz"} {
					if which == nil || which.HTTPGet == nil || which.HTTPGet.Path != path || which.HTTPGet.Port.StrVal != "admin" {
						t.Errorf("%s: %s lacks a probe of %s", id(p.owner), c.Name, path)
					}
				}
			}
			for _, v := range spec.Volumes {
				if v.EmptyDir != nil && v.EmptyDir.SizeLimit == nil {
					t.Errorf("%s: the volume %s has no bound", id(p.owner), v.Name)
				}
			}
		}
	})
}
