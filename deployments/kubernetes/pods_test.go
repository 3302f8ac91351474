package kubernetes

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// pods are those that one object makes, all alike.
type pods struct {
	owner     *unstructured.Unstructured
	namespace string
	labels    map[string]string
	// template is nil where an operator makes the pods.
	template *corev1.PodTemplateSpec
}

// pods are what would run.
func (m manifests) pods(t *testing.T) (all []pods) {
	t.Helper()
	for _, object := range m {
		made := pods{owner: object, namespace: object.GetNamespace()}
		switch object.GetKind() {
		case "Deployment":
			made.template = &typed[appsv1.Deployment](t, object).Spec.Template
		case "Job":
			made.template = &typed[batchv1.Job](t, object).Spec.Template
		case "Cluster":
			made.labels = map[string]string{"cnpg.io/cluster": object.GetName(), "cnpg.io/podRole": "instance"}
		case "RabbitmqCluster":
			made.labels = map[string]string{
				"app.kubernetes.io/name": object.GetName(), "app.kubernetes.io/component": "rabbitmq", "app.kubernetes.io/part-of": "rabbitmq",
			}
		default:
			continue
		}
		if made.template != nil {
			made.labels = made.template.Labels
		}
		all = append(all, made)
	}
	return all
}

// program is what a pod of ours runs, by its image.
func (p pods) program() string {
	image, _, _ := strings.Cut(p.template.Spec.Containers[0].Image, ":")
	return image[strings.LastIndexByte(image, '/')+1:]
}

// The labels that the operators give their pods are told from their source.
func TestOperatorsLabelTheirPodsSo(t *testing.T) {
	for _, c := range []struct {
		of         published
		path, says string
	}{
		{cloudNativePG, "pkg/utils/labels_annotations.go", `ClusterLabelName = MetadataNamespace + "/cluster"`},
		{cloudNativePG, "pkg/utils/labels_annotations.go", `MetadataNamespace = "cnpg.io"`},
		{rabbitMQ, "internal/metadata/label.go", `"app.kubernetes.io/name":      instanceName`},
		{rabbitMQ, "internal/metadata/label.go", `"app.kubernetes.io/component": "rabbitmq"`},
	} {
		if !strings.Contains(c.of.file(t, c.path), c.says) {
			t.Errorf("%s of %s@%s does not say %s", c.path, c.of.module, c.of.version, c.says)
		}
	}
}
