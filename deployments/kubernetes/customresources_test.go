package kubernetes

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// definitionFile is the upstream file of a CustomResourceDefinition.
type definitionFile struct {
	module published
	path   string
}

var definitionFiles = map[schema.GroupKind]definitionFile{
	{Group: "postgresql.cnpg.io", Kind: "Cluster"}:          {cloudNativePG, "config/crd/bases/postgresql.cnpg.io_clusters.yaml"},
	{Group: "postgresql.cnpg.io", Kind: "ScheduledBackup"}:  {cloudNativePG, "config/crd/bases/postgresql.cnpg.io_scheduledbackups.yaml"},
	{Group: "barmancloud.cnpg.io", Kind: "ObjectStore"}:     {barmanCloud, "config/crd/bases/barmancloud.cnpg.io_objectstores.yaml"},
	{Group: "rabbitmq.com", Kind: "RabbitmqCluster"}:        {rabbitMQ, "config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml"},
	{Group: "cert-manager.io", Kind: "Certificate"}:         {certManager, "deploy/crds/cert-manager.io_certificates.yaml"},
	{Group: "cert-manager.io", Kind: "Issuer"}:              {certManager, "deploy/crds/cert-manager.io_issuers.yaml"},
	{Group: "gateway.networking.k8s.io", Kind: "Gateway"}:   {gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_gateways.yaml"},
	{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}: {gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
}

// definition is a CustomResourceDefinition as the API server compiles it.
type definition struct {
	structural *structuralschema.Structural
	values     validation.SchemaValidator
	rules      *cel.Validator
}

var definitions = map[schema.GroupVersionKind]*definition{}

func definitionOf(t *testing.T, kind schema.GroupVersionKind) *definition {
	t.Helper()
	if known := definitions[kind]; known != nil {
		return known
	}
	source, ok := definitionFiles[kind.GroupKind()]
	if !ok {
		t.Fatalf("%s: no upstream definition", kind)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict([]byte(source.module.file(t, source.path)), &crd); err != nil {
		t.Fatal(err)
	}
	for _, version := range crd.Spec.Versions {
		if version.Name != kind.Version || !version.Served {
			continue
		}
		var internal apiextensions.CustomResourceValidation
		if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(version.Schema, &internal, nil); err != nil {
			t.Fatal(err)
		}
		structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
		if err != nil {
			t.Fatal(err)
		}
		values, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
		if err != nil {
			t.Fatal(err)
		}
		definitions[kind] = &definition{structural, values, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
		return definitions[kind]
	}
	t.Fatalf("%s: %s does not serve this version", kind, source.path)
	return nil
}

// check validates a new custom resource as the API server does, but fails for unknown
// fields, which the API server drops.
func (d *definition) check(object *unstructured.Unstructured) error {
	object = object.DeepCopy()
	unknown := pruning.PruneWithOptions(object.Object, d.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return fmt.Errorf("unknown fields: %v", unknown)
	}
	defaulting.Default(object.Object, d.structural)
	var errs field.ErrorList
	errs = append(errs, validation.ValidateCustomResource(nil, object.Object, d.values)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, object.Object)...)
	if len(errs) == 0 && d.rules != nil {
		ruleErrs, _ := d.rules.Validate(context.Background(), nil, d.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, ruleErrs...)
	}
	return errs.ToAggregate()
}

func TestCustomResourcesMatchDefinitions(t *testing.T) {
	eachFolder(t, func(t *testing.T, objects manifests) {
		for _, object := range objects {
			if !builtIn(object) {
				if err := definitionOf(t, object.GroupVersionKind()).check(object); err != nil {
					t.Errorf("%s: %v", id(object), err)
				}
			}
		}
	})
}
