package kubernetes

import (
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// manifests are the objects that one kustomization makes.
type manifests []*unstructured.Unstructured

var (
	built sync.Map // folder -> func() (manifests, error)
	// withoutSite are kustomizations that are no whole site.
	withoutSite = map[string]bool{"gateway": true}
)

// build does what "kubectl kustomize" does, once a folder.
func build(t *testing.T, folder string) manifests {
	t.Helper()
	once, _ := built.LoadOrStore(folder, sync.OnceValues(func() (manifests, error) {
		return kustomize(folder)
	}))
	made, err := once.(func() (manifests, error))()
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	if len(made) == 0 {
		t.Fatalf("%s makes nothing", folder)
	}
	return made
}

func kustomize(folder string) (manifests, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	var made manifests
	for _, r := range resources.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		made = append(made, object)
	}
	return made, nil
}

// folders are those that can be applied: all but components.
func folders(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if folder, file := filepath.Split(path); file == "kustomization.yaml" && !strings.HasPrefix(folder, "components/") {
			all = append(all, filepath.Clean(folder))
		}
		return err
	})
	if err != nil || len(all) < 7 {
		t.Fatalf("found %v: %v", all, err)
	}
	return all
}

// each runs a test for what every kustomization makes.
func each(t *testing.T, test func(*testing.T, manifests)) {
	for _, folder := range folders(t) {
		t.Run(folder, func(t *testing.T) { test(t, build(t, folder)) })
	}
}

// eachSite runs a test for every kustomization that is a whole site.
func eachSite(t *testing.T, test func(*testing.T, manifests)) {
	for _, folder := range folders(t) {
		if !withoutSite[folder] {
			t.Run(folder, func(t *testing.T) { test(t, build(t, folder)) })
		}
	}
}

func (m manifests) ofKind(kind string) (found manifests) {
	for _, object := range m {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	return found
}

// named returns the object of a kind and a name, nil when there is none.
func (m manifests) named(kind, name string) *unstructured.Unstructured {
	for _, object := range m.ofKind(kind) {
		if object.GetName() == name {
			return object
		}
	}
	return nil
}

func id(object *unstructured.Unstructured) string { return object.GetKind() + "/" + object.GetName() }
