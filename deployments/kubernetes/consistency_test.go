package kubernetes

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Components use the same version, namespace and label as the base.
func TestComponentsMatchBase(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		versions := map[string]bool{}
		for _, p := range objects.pods(t) {
			if p.template != nil {
				_, tag, _ := strings.Cut(p.template.Spec.Containers[0].Image, ":")
				versions[tag] = true
			}
		}
		if len(versions) != 1 || versions[""] || versions["latest"] {
			t.Errorf("got versions %v of the tiers, want one", versions)
		}
		for _, object := range objects {
			if object.GetKind() != "Namespace" && (object.GetNamespace() != "techtalks" || object.GetLabels()["app.kubernetes.io/part-of"] != "techtalks") {
				t.Errorf("%s: wrong namespace or missing label", id(object))
			}
		}
	})
}

// A change of the broker changes the name of the ConfigMap, and so rolls the pods.
func TestChangedBrokerRollsLogicTier(t *testing.T) {
	configMap := func(folder string) string {
		t.Helper()
		read := map[string]bool{}
		for _, object := range build(t, folder).ofKind("Deployment") {
			for _, name := range paths(object.Object, "spec", "template", "spec", "containers", "*", "envFrom", "*", "configMapRef", "name") {
				read[name] = true
			}
		}
		if len(read) != 1 {
			t.Fatalf("%s: got ConfigMaps %v, want one", folder, read)
		}
		for name := range read {
			return name
		}
		return ""
	}
	if configMap("base") == configMap("overlays/rabbitmq") {
		t.Error("the ConfigMap has the same name with and without the broker")
	}
}

// An overlay can set the registry of every image.
func TestOverlayCanRenameEveryImage(t *testing.T) {
	for _, object := range build(t, "overlays/production") {
		for _, image := range paths(object.Object, "spec", "template", "spec", "containers", "*", "image") {
			name, _, _ := strings.Cut(image, ":")
			if !strings.HasPrefix(name, "techtalks/") {
				t.Errorf("%s: got image %s, want the prefix techtalks/", id(object), image)
			}
		}
	}
	// Images of the operators' pods are set explicitly too.
	for kind, path := range map[string][]string{"Cluster": {"spec", "imageName"}, "RabbitmqCluster": {"spec", "image"}} {
		object := build(t, "overlays/production").ofKind(kind)[0]
		if image, found, _ := unstructured.NestedString(object.Object, path...); !found || !strings.Contains(image, ":") {
			t.Errorf("%s: got image %q, want one with a tag", id(object), image)
		}
	}
}
