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

// manifests are the objects of one kustomization.
type manifests []*unstructured.Unstructured

var (
	built sync.Map // folder -> func() (manifests, error)
	// partial are the kustomizations that are not a complete site.
	partial = map[string]bool{"gateway": true}
)

// build builds a folder as "kubectl kustomize" does, and caches the result.
func build(t *testing.T, folder string) manifests {
	t.Helper()
	once, _ := built.LoadOrStore(folder, sync.OnceValues(func() (manifests, error) {
		return kustomize(folder)
	}))
	objects, err := once.(func() (manifests, error))()
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	if len(objects) == 0 {
		t.Fatalf("%s: no objects", folder)
	}
	return objects
}

func kustomize(folder string) (manifests, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	var objects manifests
	for _, r := range resources.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// folders returns the folders that can be applied, without components.
func folders(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if folder, file := filepath.Split(path); file == "kustomization.yaml" && !strings.HasPrefix(folder, "components/") {
			all = append(all, filepath.Clean(folder))
		}
		return err
	})
	if err != nil || len(all) < 7 {
		t.Fatalf("got folders %v, %v, want at least 7", all, err)
	}
	return all
}

// eachFolder runs a test for the objects of every kustomization.
func eachFolder(t *testing.T, test func(*testing.T, manifests)) {
	for _, folder := range folders(t) {
		t.Run(folder, func(t *testing.T) { test(t, build(t, folder)) })
	}
}

// eachSite runs a test for every kustomization that is a complete site.
func eachSite(t *testing.T, test func(*testing.T, manifests)) {
	for _, folder := range folders(t) {
		if !partial[folder] {
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

// named returns the object with a kind and a name, or nil.
func (m manifests) named(kind, name string) *unstructured.Unstructured {
	for _, object := range m.ofKind(kind) {
		if object.GetName() == name {
			return object
		}
	}
	return nil
}

func id(object *unstructured.Unstructured) string { return object.GetKind() + "/" + object.GetName() }
