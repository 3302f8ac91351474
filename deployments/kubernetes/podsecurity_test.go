package kubernetes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// admission returns the Pod Security admission check that the namespace's labels select.
func admission(t *testing.T, objects manifests) func(*corev1.PodTemplateSpec) policy.AggregateCheckResult {
	t.Helper()
	labels := objects.ofKind("Namespace")[0].GetLabels()
	level, err := api.ParseLevel(labels[api.EnforceLevelLabel])
	if err != nil || level != api.LevelRestricted {
		t.Fatalf("got Pod Security level %q, %v, want restricted", level, err)
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

func TestNamespaceAdmitsEveryPod(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		check := admission(t, objects)
		for _, p := range objects.pods(t) {
			if p.template != nil {
				if result := check(p.template); !result.Allowed {
					t.Errorf("%s: %s", id(p.owner), result.ForbiddenDetail())
				}
			}
		}
	})
}

// Beyond Pod Security: read-only images, no API tokens, resource limits, and probes for
// long-running pods.
func TestPodsHaveLimitsAndProbes(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, p := range objects.pods(t) {
			if p.template == nil {
				continue
			}
			spec := p.template.Spec
			if mount := spec.AutomountServiceAccountToken; mount == nil || *mount {
				t.Errorf("%s: its pods have a token for the Kubernetes API", id(p.owner))
			}
			for _, c := range spec.Containers {
				if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
					t.Errorf("%s: the root file system of %s is writable", id(p.owner), c.Name)
				}
				for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
					_, hasRequest := c.Resources.Requests[resource]
					_, hasLimit := c.Resources.Limits[resource]
					if !hasRequest || !hasLimit {
						t.Errorf("%s: %s has no request or no limit of %s", id(p.owner), c.Name, resource)
					}
				}
				if p.owner.GetKind() == "Job" {
					continue
				}
				for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/healthz", c.LivenessProbe: "/healthz", c.ReadinessProbe: "/readyz"} {
					if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "admin" {
						t.Errorf("%s: %s lacks a probe of %s", id(p.owner), c.Name, path)
					}
				}
			}
			for _, v := range spec.Volumes {
				if v.EmptyDir != nil && v.EmptyDir.SizeLimit == nil {
					t.Errorf("%s: the volume %s has no size limit", id(p.owner), v.Name)
				}
			}
		}
	})
}
