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

// byHand are secrets that no object makes, and README.md says how to.
var byHand = map[string][]string{
	"overlays/backups":    {"backup-store"},
	"overlays/production": {"backup-store"},
	"overlays/certificates-by-hand": {
		"data-tier-certificate", "data-tier-replication-certificate", "logic-tier-certificate", "web-tier-certificate",
	},
}

// paths returns what stands at a path of maps and lists; "*" is all of a list.
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
		for _, one := range value {
			if steps[0] == "*" {
				found = append(found, paths(one, steps[1:]...)...)
			}
		}
	}
	return found
}

// secretsOf returns the secrets that an object names.
func secretsOf(t *testing.T, object *unstructured.Unstructured) (names []string) {
	t.Helper()
	places := map[string][]string{
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
	for _, place := range places[object.GetKind()] {
		names = append(names, paths(object.Object, strings.Split(place, ".")...)...)
	}
	return names
}

func TestEverySecretIsMadeBySomebody(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders(t) {
		t.Run(folder, func(t *testing.T) {
			made := build(t, folder)
			var issued, missing []string
			for _, certificate := range made.ofKind("Certificate") {
				issued = append(issued, paths(certificate.Object, "spec", "secretName")...)
			}
			for _, object := range made {
				for _, secret := range secretsOf(t, object) {
					if !slices.Contains(issued, secret) && !slices.Contains(missing, secret) {
						missing = append(missing, secret)
					}
				}
			}
			sort.Strings(missing)
			if !slices.Equal(missing, byHand[folder]) {
				t.Errorf("nobody makes %v; by hand one makes %v", missing, byHand[folder])
			}
			for _, secret := range missing {
				if !strings.Contains(string(readme), secret) {
					t.Errorf("README.md does not say how to make %s", secret)
				}
			}
		})
	}
}

func TestEveryConfigMapIsMadeBySomebody(t *testing.T) {
	each(t, func(t *testing.T, made manifests) {
		for _, object := range made {
			for _, place := range []string{
				"spec.template.spec.volumes.*.configMap.name", "spec.template.spec.containers.*.envFrom.*.configMapRef.name",
				"spec.override.statefulSet.spec.template.spec.volumes.*.configMap.name",
			} {
				for _, name := range paths(object.Object, strings.Split(place, ".")...) {
					if made.named("ConfigMap", name) == nil {
						t.Errorf("%s: nothing makes the ConfigMap %s", id(object), name)
					}
				}
			}
		}
	})
}

// ports returns those at which a host of this namespace answers; nil when there is no
// such host.
func ports(t *testing.T, made manifests, host string) []int32 {
	t.Helper()
	if object := made.named("Service", host); object != nil {
		var all []int32
		for _, port := range typed[corev1.Service](t, object).Spec.Ports {
			all = append(all, port.Port)
		}
		return all
	}
	if cluster, found := strings.CutSuffix(host, "-rw"); found && made.named("Cluster", cluster) != nil {
		return []int32{5432}
	}
	if made.named("RabbitmqCluster", host) != nil {
		return []int32{5671}
	}
	return nil
}

// Every address that a program is told is somebody's, and whoever verifies the name
// finds it in the certificate.
func TestAddressesLeadSomewhere(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		check := func(p pods, address string, verified bool) {
			t.Helper()
			u, err := url.Parse("//" + address)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(ports(t, made, u.Hostname()), func(port int32) bool { return fmt.Sprint(port) == u.Port() }) {
				t.Errorf("%s: nobody answers at %s", id(p.owner), address)
			}
			certificate := made.named("Certificate", strings.TrimSuffix(u.Hostname(), "-rw"))
			if verified && certificate != nil && !slices.Contains(paths(certificate.Object, "spec", "dnsNames", "*"), u.Hostname()) {
				t.Errorf("%s: whoever is at %s has no certificate that says so", id(p.owner), address)
			}
		}
		for _, p := range made.pods(t) {
			if p.template == nil {
				continue
			}
			c := p.template.Spec.Containers[0]
			told := environmentOf(t, made, c)
			if address := told["DATA_ADDRESS"]; address != "" {
				check(p, address, true)
			}
			if address := told["BROKER"]; address != "" {
				address, vhost, _ := strings.Cut(strings.TrimPrefix(address, "amqps://"), "/")
				check(p, address, true)
				if vhost != "techtalks" {
					t.Errorf("%s: the virtual host is %q", id(p.owner), vhost)
				}
			}
			for _, address := range whereabouts(argument(c, "peer") + "," + told["LOGIC_ADDRESS"]) {
				// Between programs the certificate says who, whatever the address.
				check(p, strings.TrimPrefix(address, "dns:///"), false)
			}
		}
		for _, route := range made.ofKind("HTTPRoute") {
			for _, name := range paths(route.Object, "spec", "rules", "*", "backendRefs", "*", "name") {
				if made.named("Service", name) == nil {
					t.Errorf("%s: leads to no service: %s", id(route), name)
				}
			}
		}
	})
}

// A service without pods answers nobody, and one whose port they do not have neither.
func TestEveryServiceHasPods(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, object := range made.ofKind("Service") {
			s := typed[corev1.Service](t, object)
			found := 0
			for _, p := range made.pods(t) {
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
				t.Errorf("%s: selects the pods of %d owners", id(object), found)
			}
		}
	})
}

// The gateway that comes along takes the routes of the site, and its pods are let in.
func TestRoutesFindTheirGateway(t *testing.T) {
	edge := build(t, "gateway")
	gateway := edge.ofKind("Gateway")[0]
	listeners := paths(gateway.Object, "spec", "listeners", "*", "name")
	for _, route := range build(t, "base").ofKind("HTTPRoute") {
		if paths(route.Object, "spec", "parentRefs", "*", "namespace")[0] != gateway.GetNamespace() ||
			paths(route.Object, "spec", "parentRefs", "*", "name")[0] != gateway.GetName() ||
			!slices.Contains(listeners, paths(route.Object, "spec", "parentRefs", "*", "sectionName")[0]) {
			t.Errorf("%s: there is no such gateway", id(route))
		}
	}
	if edge.named("Namespace", gateway.GetNamespace()).GetLabels()["techtalks.example/edge"] != "true" {
		t.Error("the web tier does not let the gateway's namespace in")
	}
}
