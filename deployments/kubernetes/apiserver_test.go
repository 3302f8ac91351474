package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
)

// strategies are the API server's create strategies of built-in kinds: defaulting and
// validation.
var strategies = map[schema.GroupVersionKind]rest.RESTCreateStrategy{
	{Version: "v1", Kind: "Namespace"}:                                     namespace.Strategy,
	{Version: "v1", Kind: "ConfigMap"}:                                     configmap.Strategy,
	{Version: "v1", Kind: "Service"}:                                       service.Strategy,
	{Group: "apps", Version: "v1", Kind: "Deployment"}:                     deployment.Strategy,
	{Group: "batch", Version: "v1", Kind: "Job"}:                           job.Strategy,
	{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}: horizontalpodautoscaler.Strategy,
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}:          poddisruptionbudget.Strategy,
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}:     networkpolicy.Strategy,
}

// strict rejects unknown and duplicate fields.
var strict = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)

// create runs the steps of the API server before it stores a new object.
func create(object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	strategy, ok := strategies[kind]
	if !ok {
		return fmt.Errorf("%s: no create strategy for this kind", kind)
	}
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	internal, err := runtime.Decode(strict.UniversalDecoder(), text)
	if err != nil {
		return err
	}
	// The API server copies this field outside the strategy.
	if s, ok := internal.(*core.Service); ok && s.Spec.ClusterIP != "" {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	ctx := request.WithNamespace(context.Background(), object.GetNamespace())
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, Verb: "create", APIGroup: kind.Group, APIVersion: kind.Version, Namespace: object.GetNamespace(),
	})
	metadata, err := meta.Accessor(internal)
	if err != nil {
		return err
	}
	rest.FillObjectMetaSystemFields(metadata)
	return rest.BeforeCreate(strategy, ctx, internal)
}

// typed reads an object as its client type.
func typed[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	value := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, value, true); err != nil {
		t.Fatalf("%s: %v", id(object), err)
	}
	return value
}

func builtIn(object *unstructured.Unstructured) bool {
	return scheme.Scheme.Recognizes(object.GroupVersionKind())
}

func TestAPIServerAcceptsEveryObject(t *testing.T) {
	eachFolder(t, func(t *testing.T, objects manifests) {
		for _, object := range objects {
			if builtIn(object) {
				if err := create(object); err != nil {
					t.Errorf("%s: %v", id(object), err)
				}
			}
		}
	})
}
