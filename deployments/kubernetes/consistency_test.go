package kubernetes

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What a component adds is as what the base has: of the same version, and found by the
// same label.
func TestComponentsAreAsTheBase(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		versions := map[string]bool{}
		for _, p := range made.pods(t) {
			if p.template != nil {
				_, tag, _ := strings.Cut(p.template.Spec.Containers[0].Image, ":")
				versions[tag] = true
			}
		}
		if len(versions) != 1 || versions[""] || versions["latest"] {
			t.Errorf("the tiers are of the versions %v", versions)
		}
		for _, object := range made {
			if object.GetKind() != "Namespace" && (object.GetNamespace() != "techtalks" || object.GetLabels()["app.kubernetes.io/part-of"] != "techtalks") {
				t.Errorf("%s: is elsewhere, or not labelled", id(object))
			}
		}
	})
}

// Another broker is another ConfigMap, by whose name every pod that reads it is made anew.
func TestANewBrokerRollsTheLogicTier(t *testing.T) {
	settings := func(folder string) string {
		t.Helper()
		read := map[string]bool{}
		for _, object := range build(t, folder).ofKind("Deployment") {
			for _, name := range paths(object.Object, "spec", "template", "spec", "containers", "*", "envFrom", "*", "configMapRef", "name") {
				read[name] = true
			}
		}
		if len(read) != 1 {
			t.Fatalf("%s: read are %v", folder, read)
		}
		for name := range read {
			return name
		}
		return ""
	}
	if settings("base") == settings("overlays/rabbitmq") {
		t.Error("the logic tier would not learn of the broker")
	}
}

// An overlay of somebody's own can name a registry once for all.
func TestImagesAreRenamedEverywhere(t *testing.T) {
	for _, object := range build(t, "overlays/production") {
		for _, image := range paths(object.Object, "spec", "template", "spec", "containers", "*", "image") {
			name, _, _ := strings.Cut(image, ":")
			if !strings.HasPrefix(name, "techtalks/") {
				t.Errorf("%s: %s is not of the names that README.md tells to rename", id(object), image)
			}
		}
	}
	// Where an operator chooses the image, it is named here all the same.
	for kind, at := range map[string][]string{"Cluster": {"spec", "imageName"}, "RabbitmqCluster": {"spec", "image"}} {
		object := build(t, "overlays/production").ofKind(kind)[0]
		if image, found, _ := unstructured.NestedString(object.Object, at...); !found || !strings.Contains(image, ":") {
			t.Errorf("%s: runs %q", id(object), image)
		}
	}
}
