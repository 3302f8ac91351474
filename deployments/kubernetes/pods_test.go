package kubernetes

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// pods describes the identical pods of one owner.
type pods struct {
	owner     *unstructured.Unstructured
	namespace string
	labels    map[string]string
	// template is nil if an operator creates the pods.
	template *corev1.PodTemplateSpec
}

// pods returns the pods of all owners.
func (m manifests) pods(t *testing.T) (all []pods) {
	t.Helper()
	for _, object := range m {
		p := pods{owner: object, namespace: object.GetNamespace()}
		switch object.GetKind() {
		case "Deployment":
			p.template = &typed[appsv1.Deployment](t, object).Spec.Template
		case "Job":
			p.template = &typed[batchv1.Job](t, object).Spec.Template
		case "Cluster":
			p.labels = map[string]string{"cnpg.io/cluster": object.GetName(), "cnpg.io/podRole": "instance"}
		case "RabbitmqCluster":
			p.labels = map[string]string{
				"app.kubernetes.io/name": object.GetName(), "app.kubernetes.io/component": "rabbitmq", "app.kubernetes.io/part-of": "rabbitmq",
			}
		default:
			continue
		}
		if p.template != nil {
			p.labels = p.template.Labels
		}
		all = append(all, p)
	}
	return all
}

// program returns the name of a pod's program, from its image.
func (p pods) program() string {
	image, _, _ := strings.Cut(p.template.Spec.Containers[0].Image, ":")
	return image[strings.LastIndexByte(image, '/')+1:]
}

// The labels assumed for the operators' pods are those in the operators' source.
func TestOperatorsSetExpectedLabels(t *testing.T) {
	for _, c := range []struct {
		module     published
		path, want string
	}{
		{cloudNativePG, "pkg/utils/labels_annotations.go", `ClusterLabelName = MetadataNamespace + "/cluster"`},
		{cloudNativePG, "pkg/utils/labels_annotations.go", `MetadataNamespace = "cnpg.io"`},
		{rabbitMQ, "internal/metadata/label.go", `"app.kubernetes.io/name":      instanceName`},
		{rabbitMQ, "internal/metadata/label.go", `"app.kubernetes.io/component": "rabbitmq"`},
	} {
		if !strings.Contains(c.module.file(t, c.path), c.want) {
			t.Errorf("%s of %s@%s lacks %s", c.path, c.module.module, c.module.version, c.want)
		}
	}
}
