package kubernetes

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// place is one end of a connection: a pod, or, without labels of a namespace, something
// outside of the cluster.
type place struct {
	namespace       string
	namespaceLabels map[string]string
	labels          map[string]string
}

func in(namespace string, labels, more map[string]string) place {
	all := map[string]string{corev1.LabelMetadataName: namespace}
	for key, value := range more {
		all[key] = value
	}
	return place{namespace, all, labels}
}

// policies decide as the network does.
type policies []*networkingv1.NetworkPolicy

func (m manifests) policies(t *testing.T) (all policies) {
	t.Helper()
	for _, object := range m.ofKind("NetworkPolicy") {
		all = append(all, typed[networkingv1.NetworkPolicy](t, object))
	}
	return all
}

// pass says whether a connection is let through: out of one end, and into the other.
// Where no policy selects an end, everything goes through there.
func (all policies) pass(t *testing.T, from, to place, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	return all.way(t, networkingv1.PolicyTypeEgress, from, to, port, protocol) &&
		all.way(t, networkingv1.PolicyTypeIngress, to, from, port, protocol)
}

func (all policies) way(t *testing.T, direction networkingv1.PolicyType, at, other place, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	selected := false
	for _, p := range all {
		if p.Namespace != at.namespace || !slices.Contains(p.Spec.PolicyTypes, direction) || !selects(t, &p.Spec.PodSelector, at.labels) {
			continue
		}
		selected = true
		if direction == networkingv1.PolicyTypeEgress {
			for _, rule := range p.Spec.Egress {
				if includes(t, p.Namespace, rule.To, other) && opens(t, rule.Ports, port, protocol) {
					return true
				}
			}
		} else {
			for _, rule := range p.Spec.Ingress {
				if includes(t, p.Namespace, rule.From, other) && opens(t, rule.Ports, port, protocol) {
					return true
				}
			}
		}
	}
	return !selected
}

func includes(t *testing.T, namespace string, peers []networkingv1.NetworkPolicyPeer, other place) bool {
	t.Helper()
	if len(peers) == 0 {
		return true
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			t.Fatal("addresses are not known here")
		}
		inside := other.namespace == namespace
		if peer.NamespaceSelector != nil {
			inside = other.namespaceLabels != nil && selects(t, peer.NamespaceSelector, other.namespaceLabels)
		}
		if inside && (peer.PodSelector == nil || selects(t, peer.PodSelector, other.labels)) {
			return true
		}
	}
	return false
}

func opens(t *testing.T, ports []networkingv1.NetworkPolicyPort, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		if p.Port.StrVal != "" {
			t.Fatal("use numbers: not every network knows the names of another pod's ports")
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

// places are the ends of connections that matter.
func places(t *testing.T, made manifests) map[string]place {
	t.Helper()
	all := map[string]place{
		"the internet": {},
		"gateway":      in("edge", map[string]string{"app": "gateway"}, map[string]string{"techtalks.example/edge": "true"}),
		"scraper":      in("monitoring", map[string]string{"app": "scraper"}, map[string]string{"techtalks.example/monitoring": "true"}),
		"names":        in("kube-system", map[string]string{"k8s-app": "kube-dns"}, nil),
		"cnpg":         in("cnpg-system", map[string]string{"app.kubernetes.io/name": "cloudnative-pg"}, nil),
		"a stranger":   in("elsewhere", map[string]string{"app.kubernetes.io/name": "web-tier"}, nil),
		"an intruder":  in("techtalks", map[string]string{"app": "debug"}, nil),
	}
	for _, p := range made.pods(t) {
		all[p.owner.GetName()] = in(p.namespace, p.labels, nil)
	}
	return all
}

func TestWhoReachesWhom(t *testing.T) {
	ways := []struct {
		from, to string
		port     int32
		open     bool
	}{
		{"gateway", "web-tier", 8080, true},
		{"gateway", "web-tier", 8081, false},
		{"gateway", "logic-tier", 9090, false},
		{"gateway", "data-tier", 5432, false},
		{"a stranger", "web-tier", 8080, false},
		{"a stranger", "logic-tier", 9090, false},
		{"a stranger", "data-tier", 5432, false},
		{"an intruder", "logic-tier", 9090, false},
		{"an intruder", "data-tier", 5432, false},
		{"an intruder", "the internet", 443, false},

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
		{"data-tier", "the internet", 443, true}, // the cluster's API, and backups
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
	eachSite(t, func(t *testing.T, made manifests) {
		policies, places := made.policies(t), places(t, made)
		tried := 0
		for _, w := range ways {
			from, here := places[w.from]
			to, there := places[w.to]
			if !here || !there {
				continue // not in this build
			}
			tried++
			if open := policies.pass(t, from, to, w.port, corev1.ProtocolTCP); open != w.open {
				t.Errorf("from %s to %s at %d: %v", w.from, w.to, w.port, open)
			}
		}
		if tried < 30 {
			t.Errorf("tried %d ways", tried)
		}
		for _, p := range made.pods(t) {
			if !policies.pass(t, in(p.namespace, p.labels, nil), places["names"], 53, corev1.ProtocolUDP) {
				t.Errorf("%s cannot look up names", id(p.owner))
			}
		}
	})
}

func TestPoliciesAreAboutSomebody(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		somebody := func(s *metav1.LabelSelector) bool {
			return slices.ContainsFunc(made.pods(t), func(p pods) bool { return selects(t, s, p.labels) })
		}
		for _, p := range made.policies(t) {
			if !somebody(&p.Spec.PodSelector) {
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
				if peer.NamespaceSelector == nil && !somebody(peer.PodSelector) {
					t.Errorf("%s is about pods that are not there: %v", p.Name, peer.PodSelector)
				}
			}
		}
	})
}
