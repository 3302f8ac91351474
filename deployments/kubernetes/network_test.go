package kubernetes

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// endpoint is one end of a connection: a pod, or, without a namespace, a host outside the
// cluster.
type endpoint struct {
	namespace       string
	namespaceLabels map[string]string
	labels          map[string]string
}

// pod returns a pod's endpoint, given the pod's labels and those of its namespace.
func pod(namespace string, labels, namespaceLabels map[string]string) endpoint {
	all := map[string]string{corev1.LabelMetadataName: namespace}
	for key, value := range namespaceLabels {
		all[key] = value
	}
	return endpoint{namespace, all, labels}
}

// policies evaluates network policies as a network plugin does.
type policies []*networkingv1.NetworkPolicy

func (m manifests) policies(t *testing.T) (all policies) {
	t.Helper()
	for _, object := range m.ofKind("NetworkPolicy") {
		all = append(all, typed[networkingv1.NetworkPolicy](t, object))
	}
	return all
}

// allow reports whether the policies allow a connection, in the egress of the source and the
// ingress of the target. An endpoint that no policy selects allows everything.
func (all policies) allow(t *testing.T, source, target endpoint, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	return all.allowDirection(t, networkingv1.PolicyTypeEgress, source, target, port, protocol) &&
		all.allowDirection(t, networkingv1.PolicyTypeIngress, target, source, port, protocol)
}

func (all policies) allowDirection(t *testing.T, direction networkingv1.PolicyType, local, peer endpoint, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	selected := false
	for _, p := range all {
		if p.Namespace != local.namespace || !slices.Contains(p.Spec.PolicyTypes, direction) || !selects(t, &p.Spec.PodSelector, local.labels) {
			continue
		}
		selected = true
		if direction == networkingv1.PolicyTypeEgress {
			for _, rule := range p.Spec.Egress {
				if matchPeers(t, p.Namespace, rule.To, peer) && matchPorts(t, rule.Ports, port, protocol) {
					return true
				}
			}
		} else {
			for _, rule := range p.Spec.Ingress {
				if matchPeers(t, p.Namespace, rule.From, peer) && matchPorts(t, rule.Ports, port, protocol) {
					return true
				}
			}
		}
	}
	return !selected
}

func matchPeers(t *testing.T, namespace string, peers []networkingv1.NetworkPolicyPeer, other endpoint) bool {
	t.Helper()
	if len(peers) == 0 {
		return true
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			t.Fatal("IP blocks are not supported by this test")
		}
		inNamespace := other.namespace == namespace
		if peer.NamespaceSelector != nil {
			inNamespace = other.namespaceLabels != nil && selects(t, peer.NamespaceSelector, other.namespaceLabels)
		}
		if inNamespace && (peer.PodSelector == nil || selects(t, peer.PodSelector, other.labels)) {
			return true
		}
	}
	return false
}

func matchPorts(t *testing.T, ports []networkingv1.NetworkPolicyPort, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		if p.Port.StrVal != "" {
			t.Fatal("use port numbers: not every network plugin supports names")
		}
		last := p.Port.IntVal
		if p.EndPort != nil {
			last = *p.EndPort
		}
		if (p.Protocol == nil || *p.Protocol == protocol) && p.Port.IntVal <= port && port <= last {
			return true
		}
	}
	return false
}

// endpoints returns the endpoints of the site and of its environment, by name.
func endpoints(t *testing.T, objects manifests) map[string]endpoint {
	t.Helper()
	all := map[string]endpoint{
		"the internet":    {},
		"gateway":         pod("edge", map[string]string{"app": "gateway"}, map[string]string{"techtalks.example/edge": "true"}),
		"scraper":         pod("monitoring", map[string]string{"app": "scraper"}, map[string]string{"techtalks.example/monitoring": "true"}),
		"dns":             pod("kube-system", map[string]string{"k8s-app": "kube-dns"}, nil),
		"cnpg":            pod("cnpg-system", map[string]string{"app.kubernetes.io/name": "cloudnative-pg"}, nil),
		"other namespace": pod("elsewhere", map[string]string{"app.kubernetes.io/name": "web-tier"}, nil),
		"unknown pod":     pod("techtalks", map[string]string{"app": "debug"}, nil),
	}
	for _, p := range objects.pods(t) {
		all[p.owner.GetName()] = pod(p.namespace, p.labels, nil)
	}
	return all
}

func TestPoliciesAllowOnlyRequiredConnections(t *testing.T) {
	connections := []struct {
		source, target string
		port           int32
		allowed        bool
	}{
		{"gateway", "web-tier", 8080, true},
		{"gateway", "web-tier", 8081, false},
		{"gateway", "logic-tier", 9090, false},
		{"gateway", "data-tier", 5432, false},
		{"other namespace", "web-tier", 8080, false},
		{"other namespace", "logic-tier", 9090, false},
		{"other namespace", "data-tier", 5432, false},
		{"unknown pod", "logic-tier", 9090, false},
		{"unknown pod", "data-tier", 5432, false},
		{"unknown pod", "the internet", 443, false},

		{"web-tier", "logic-tier", 9090, true},
		{"web-tier", "logic-tier", 9091, false},
		{"web-tier", "logic-worker", 9090, false},
		{"web-tier", "data-tier", 5432, false},
		{"web-tier", "web-tier", 8080, false},
		{"web-tier", "the internet", 443, false},
		{"web-tier", "broker", 5671, false},
		{"web-tier", "notifications", 9090, true},

		{"logic-tier", "data-tier", 5432, true},
		{"logic-tier", "data-tier", 8000, false},
		{"logic-tier", "web-tier", 8080, false},
		{"logic-tier", "the internet", 443, false},
		{"logic-tier", "broker", 5671, true},
		{"logic-tier", "broker", 25672, false},
		{"logic-tier", "notifications", 9090, false},
		{"logic-worker", "data-tier", 5432, true},
		{"logic-worker", "logic-tier", 9090, false},
		{"logic-worker", "the internet", 443, false},
		{"logic-worker", "broker", 5671, true},
		{"logic-worker", "notifications", 9090, false},
		{"notifications", "logic-tier", 9090, true},
		{"notifications", "data-tier", 5432, true},
		{"notifications", "broker", 5671, true},
		{"notifications", "web-tier", 8080, false},

		{"migration", "data-tier", 5432, true},
		{"migration", "logic-tier", 9090, false},
		{"data-tier", "data-tier", 5432, true},
		{"data-tier", "data-tier", 8000, true},
		{"data-tier", "logic-tier", 9090, false},
		{"data-tier", "the internet", 443, true}, // the Kubernetes API, and backups
		{"data-tier", "the internet", 80, false},
		{"cnpg", "data-tier", 8000, true},
		{"broker", "broker", 25672, true},
		{"broker", "broker", 35675, true},
		{"broker", "data-tier", 5432, false},
		{"broker", "the internet", 443, false},

		{"scraper", "web-tier", 8081, true},
		{"scraper", "logic-worker", 9091, true},
		{"scraper", "logic-tier", 9090, false},
		{"scraper", "data-tier", 5432, false},
	}
	eachSite(t, func(t *testing.T, objects manifests) {
		policies, endpoints := objects.policies(t), endpoints(t, objects)
		checked := 0
		for _, c := range connections {
			source, sourceFound := endpoints[c.source]
			target, targetFound := endpoints[c.target]
			if !sourceFound || !targetFound {
				continue // not in this overlay
			}
			checked++
			if allowed := policies.allow(t, source, target, c.port, corev1.ProtocolTCP); allowed != c.allowed {
				t.Errorf("%s to %s, port %d: allowed is %v, want %v", c.source, c.target, c.port, allowed, c.allowed)
			}
		}
		if checked < 30 {
			t.Errorf("checked %d connections, want at least 30", checked)
		}
		for _, p := range objects.pods(t) {
			if !policies.allow(t, pod(p.namespace, p.labels, nil), endpoints["dns"], 53, corev1.ProtocolUDP) {
				t.Errorf("%s cannot use DNS", id(p.owner))
			}
		}
	})
}

func TestPoliciesSelectExistingPods(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		matchesPod := func(s *metav1.LabelSelector) bool {
			return slices.ContainsFunc(objects.pods(t), func(p pods) bool { return selects(t, s, p.labels) })
		}
		for _, p := range objects.policies(t) {
			if !matchesPod(&p.Spec.PodSelector) {
				t.Errorf("%s selects no pod", p.Name)
			}
			var peers []networkingv1.NetworkPolicyPeer
			for _, rule := range p.Spec.Ingress {
				peers = append(peers, rule.From...)
			}
			for _, rule := range p.Spec.Egress {
				peers = append(peers, rule.To...)
			}
			for _, peer := range peers {
				if peer.NamespaceSelector == nil && !matchesPod(peer.PodSelector) {
					t.Errorf("%s: the peer %v selects no pod", p.Name, peer.PodSelector)
				}
			}
		}
	})
}
