package kubernetes

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// manualSecrets are the secrets to create by hand as README.md describes, by overlay.
var manualSecrets = map[string][]string{
	"overlays/backups":    {"backup-store"},
	"overlays/production": {"backup-store"},
	"overlays/certificates-by-hand": {
		"data-tier-certificate", "data-tier-replication-certificate", "logic-tier-certificate", "web-tier-certificate",
	},
}

// paths returns the strings at a path through maps and lists; "*" stands for all items of a
// list.
func paths(value any, steps ...string) (found []string) {
	if len(steps) == 0 {
		if text, ok := value.(string); ok {
			return []string{text}
		}
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		return paths(value[steps[0]], steps[1:]...)
	case []any:
		for _, item := range value {
			if steps[0] == "*" {
				found = append(found, paths(item, steps[1:]...)...)
			}
		}
	}
	return found
}

// secretsOf returns the names of the secrets that an object refers to.
func secretsOf(t *testing.T, object *unstructured.Unstructured) (names []string) {
	t.Helper()
	references := map[string][]string{
		"Cluster": {
			"spec.certificates.serverTLSSecret", "spec.certificates.serverCASecret",
			"spec.certificates.clientCASecret", "spec.certificates.replicationTLSSecret",
		},
		"RabbitmqCluster": {"spec.tls.secretName", "spec.tls.caSecretName"},
		"Issuer":          {"spec.ca.secretName"},
		"Gateway":         {"spec.listeners.*.tls.certificateRefs.*.name"},
		"ObjectStore": {
			"spec.configuration.s3Credentials.accessKeyId.name", "spec.configuration.s3Credentials.secretAccessKey.name",
		},
		"Deployment": {"spec.template.spec.volumes.*.secret.secretName", "spec.template.spec.containers.*.envFrom.*.secretRef.name"},
		"Job":        {"spec.template.spec.volumes.*.secret.secretName", "spec.template.spec.containers.*.envFrom.*.secretRef.name"},
	}
	for _, reference := range references[object.GetKind()] {
		names = append(names, paths(object.Object, strings.Split(reference, ".")...)...)
	}
	return names
}

func TestEverySecretIsIssuedOrDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			var issued, missing []string
			for _, certificate := range objects.ofKind("Certificate") {
				issued = append(issued, paths(certificate.Object, "spec", "secretName")...)
			}
			for _, object := range objects {
				for _, secret := range secretsOf(t, object) {
					if !slices.Contains(issued, secret) && !slices.Contains(missing, secret) {
						missing = append(missing, secret)
					}
				}
			}
			sort.Strings(missing)
			if !slices.Equal(missing, manualSecrets[folder]) {
				t.Errorf("got secrets %v without a certificate, want %v", missing, manualSecrets[folder])
			}
			for _, secret := range missing {
				if !strings.Contains(string(readme), secret) {
					t.Errorf("README.md does not document %s", secret)
				}
			}
		})
	}
}

func TestEveryConfigMapExists(t *testing.T) {
	eachFolder(t, func(t *testing.T, objects manifests) {
		for _, object := range objects {
			for _, reference := range []string{
				"spec.template.spec.volumes.*.configMap.name", "spec.template.spec.containers.*.envFrom.*.configMapRef.name",
				"spec.override.statefulSet.spec.template.spec.volumes.*.configMap.name",
			} {
				for _, name := range paths(object.Object, strings.Split(reference, ".")...) {
					if objects.named("ConfigMap", name) == nil {
						t.Errorf("%s: the ConfigMap %s does not exist", id(object), name)
					}
				}
			}
		}
	})
}

// ports returns the ports of a host in this namespace, or nil if there is no such host.
func ports(t *testing.T, objects manifests, host string) []int32 {
	t.Helper()
	if object := objects.named("Service", host); object != nil {
		var all []int32
		for _, port := range typed[corev1.Service](t, object).Spec.Ports {
			all = append(all, port.Port)
		}
		return all
	}
	if cluster, found := strings.CutSuffix(host, "-rw"); found && objects.named("Cluster", cluster) != nil {
		return []int32{5432}
	}
	if objects.named("RabbitmqCluster", host) != nil {
		return []int32{5671}
	}
	return nil
}

// Every configured address exists, and is in the host's certificate if clients verify the
// name.
func TestConfiguredAddressesExist(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		check := func(p pods, address string, verified bool) {
			t.Helper()
			u, err := url.Parse("//" + address)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(ports(t, objects, u.Hostname()), func(port int32) bool { return fmt.Sprint(port) == u.Port() }) {
				t.Errorf("%s: no service at %s", id(p.owner), address)
			}
			certificate := objects.named("Certificate", strings.TrimSuffix(u.Hostname(), "-rw"))
			if verified && certificate != nil && !slices.Contains(paths(certificate.Object, "spec", "dnsNames", "*"), u.Hostname()) {
				t.Errorf("%s: the certificate of %s lacks this name", id(p.owner), address)
			}
		}
		for _, p := range objects.pods(t) {
			if p.template == nil {
				continue
			}
			c := p.template.Spec.Containers[0]
			environment := environmentOf(t, objects, c)
			if address := environment["DATA_ADDRESS"]; address != "" {
				check(p, address, true)
			}
			if address := environment["BROKER"]; address != "" {
				address, vhost, _ := strings.Cut(strings.TrimPrefix(address, "amqps://"), "/")
				check(p, address, true)
				if vhost != "techtalks" {
					t.Errorf("%s: got virtual host %q, want techtalks", id(p.owner), vhost)
				}
			}
			for _, address := range parsePeers(argument(c, "peer") + "," + environment["LOGIC_ADDRESS"]) {
				// Programs verify each other's identity in the certificate, not the address.
				check(p, strings.TrimPrefix(address, "dns:///"), false)
			}
		}
		for _, route := range objects.ofKind("HTTPRoute") {
			for _, name := range paths(route.Object, "spec", "rules", "*", "backendRefs", "*", "name") {
				if objects.named("Service", name) == nil {
					t.Errorf("%s: the service %s does not exist", id(route), name)
				}
			}
		}
	})
}

func TestEveryServiceSelectsPodsWithItsPorts(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, object := range objects.ofKind("Service") {
			s := typed[corev1.Service](t, object)
			found := 0
			for _, p := range objects.pods(t) {
				if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.labels)) {
					continue
				}
				found++
				for _, port := range s.Spec.Ports {
					if p.template == nil || !slices.ContainsFunc(p.template.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
						return c.Name == port.TargetPort.StrVal
					}) {
						t.Errorf("%s: the pods of %s have no port %s", id(object), id(p.owner), port.TargetPort.String())
					}
				}
			}
			if found != 1 {
				t.Errorf("%s: selects the pods of %d owners, want 1", id(object), found)
			}
		}
	})
}

// The included gateway accepts the routes of the site, and the web tier accepts its traffic.
func TestRoutesReferToGateway(t *testing.T) {
	edge := build(t, "gateway")
	gateway := edge.ofKind("Gateway")[0]
	listeners := paths(gateway.Object, "spec", "listeners", "*", "name")
	for _, route := range build(t, "base").ofKind("HTTPRoute") {
		if paths(route.Object, "spec", "parentRefs", "*", "namespace")[0] != gateway.GetNamespace() ||
			paths(route.Object, "spec", "parentRefs", "*", "name")[0] != gateway.GetName() ||
			!slices.Contains(listeners, paths(route.Object, "spec", "parentRefs", "*", "sectionName")[0]) {
			t.Errorf("%s: its gateway or listener does not exist", id(route))
		}
	}
	if edge.named("Namespace", gateway.GetNamespace()).GetLabels()["techtalks.example/edge"] != "true" {
		t.Error("the gateway's namespace lacks the label that admits it to the web tier")
	}
}
