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

// definitionFile is where a kind's maker publishes its CustomResourceDefinition.
type definitionFile struct {
	of   published
	path string
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

// definition is what the API server makes of a CustomResourceDefinition.
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
	from, ok := definitionFiles[kind.GroupKind()]
	if !ok {
		t.Fatalf("%s: nobody publishes this kind", kind)
	}
	var published apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict([]byte(from.of.file(t, from.path)), &published); err != nil {
		t.Fatal(err)
	}
	for _, version := range published.Spec.Versions {
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
	t.Fatalf("%s: %s does not serve this version", kind, from.path)
	return nil
}

// check is what the API server does with a new custom resource; where it would drop a
// field that the schema does not have, this fails.
func (d *definition) check(object *unstructured.Unstructured) error {
	object = object.DeepCopy()
	unknown := pruning.PruneWithOptions(object.Object, d.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return fmt.Errorf("unknown fields: %v", unknown)
	}
	defaulting.Default(object.Object, d.structural)
	var failed field.ErrorList
	failed = append(failed, validation.ValidateCustomResource(nil, object.Object, d.values)...)
	failed = append(failed, listtype.ValidateListSetsAndMaps(nil, d.structural, object.Object)...)
	if len(failed) == 0 && d.rules != nil {
		broken, _ := d.rules.Validate(context.Background(), nil, d.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
		failed = append(failed, broken...)
	}
	return failed.ToAggregate()
}

func TestCustomResourcesFitTheirDefinitions(t *testing.T) {
	each(t, func(t *testing.T, made manifests) {
		for _, object := range made {
			if !builtIn(object) {
				if err := definitionOf(t, object.GroupVersionKind()).check(object); err != nil {
					t.Errorf("%s: %v", id(object), err)
				}
			}
		}
	})
}
