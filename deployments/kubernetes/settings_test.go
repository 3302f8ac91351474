package kubernetes

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// tier is what a program's source says that it can be told.
type tier struct {
	commands, flags, twins []string
	// certificates are the names of its files.
	certificates []string
}

// sources are where each program's settings are.
var sources = map[string][]string{
	"web-tier":   {"../../web-tier/settings.go", "../../web-tier/main.go"},
	"logic-tier": {"../../logic-tier/app/settings.go", "../../logic-tier/app/command.go"},
	"data-tier":  {"../../data-tier/main.go"},
}

var (
	texts        = regexp.MustCompile(`text\(&[\w.]+, "([a-z-]+)", "([A-Z_]+)"`)
	others       = regexp.MustCompile(`flags\.\w+\(&[\w.]+, "([a-z-]+)"`)
	environment  = regexp.MustCompile(`os\.Getenv\("([A-Z_]+)"\)`)
	commands     = regexp.MustCompile(`case "([a-z]+)":`)
	certificates = regexp.MustCompile(`directory with (ca\.crt), ([a-z-]+\.crt) and ([a-z-]+\.key)`)
)

func tierOf(t *testing.T, program string) (found tier) {
	t.Helper()
	for _, file := range sources[program] {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(source)
		for _, m := range texts.FindAllStringSubmatch(text, -1) {
			found.flags, found.twins = append(found.flags, m[1]), append(found.twins, m[2])
		}
		for _, m := range others.FindAllStringSubmatch(text, -1) {
			found.flags = append(found.flags, m[1])
		}
		for _, m := range environment.FindAllStringSubmatch(text, -1) {
			found.twins = append(found.twins, m[1])
		}
		for _, m := range commands.FindAllStringSubmatch(text, -1) {
			found.commands = append(found.commands, m[1])
		}
		if m := certificates.FindStringSubmatch(text); m != nil {
			found.certificates = m[1:]
		}
	}
	if len(found.flags) < 4 || len(found.twins) < 4 || len(found.commands) < 2 || len(found.certificates) != 3 {
		t.Fatalf("%s: found no more than %+v", program, found)
	}
	return found
}

// environmentOf returns what a container is told, from its settings and those that it
// shares with others.
func environmentOf(t *testing.T, made manifests, c corev1.Container) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, from := range c.EnvFrom {
		shared := made.named("ConfigMap", from.ConfigMapRef.Name)
		if shared == nil {
			t.Fatalf("%s reads %s, which nothing makes", c.Name, from.ConfigMapRef.Name)
		}
		for name, value := range typed[corev1.ConfigMap](t, shared).Data {
			all[name] = value
		}
	}
	for _, e := range c.Env {
		all[e.Name] = e.Value
	}
	return all
}

// argument returns the value of a flag.
func argument(c corev1.Container, flag string) string {
	for _, a := range c.Args {
		if value, found := strings.CutPrefix(a, "--"+flag+"="); found {
			return value
		}
	}
	return ""
}

// misunderstood is what a container is told and its program does not know.
func misunderstood(t *testing.T, made manifests, program string, c corev1.Container) error {
	t.Helper()
	known := tierOf(t, program)
	for name := range environmentOf(t, made, c) {
		if !slices.Contains(known.twins, name) {
			return fmt.Errorf("%s has no setting %s", program, name)
		}
	}
	if len(c.Args) == 0 || !slices.Contains(known.commands, c.Args[0]) {
		return fmt.Errorf("%s cannot %q", program, c.Args)
	}
	for _, a := range c.Args[1:] {
		name, _, valued := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if !strings.HasPrefix(a, "--") || !valued || !slices.Contains(known.flags, name) {
			return fmt.Errorf("%s has no flag %s", program, a)
		}
	}
	return nil
}

func TestProgramsAreToldWhatTheyKnow(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, p := range made.pods(t) {
			if p.template == nil {
				continue
			}
			for _, c := range p.template.Spec.Containers {
				if err := misunderstood(t, made, p.program(), c); err != nil {
					t.Errorf("%s: %v", id(p.owner), err)
				}
			}
		}
	})
}

// Each program finds its certificate under the names that it knows, and no other's key.
func TestProgramsHaveTheirOwnCertificate(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, p := range made.pods(t) {
			if p.template == nil {
				continue
			}
			program := p.program()
			for _, v := range p.template.Spec.Volumes {
				if v.Secret == nil {
					continue
				}
				var files []string
				for _, item := range v.Secret.Items {
					files = append(files, item.Path)
				}
				if v.Secret.SecretName != program+"-certificate" || !slices.Equal(files, tierOf(t, program).certificates) {
					t.Errorf("%s: mounts %s as %v", id(p.owner), v.Secret.SecretName, files)
				}
				// lib/pq takes a key from root that its group may read, and no more.
				if mode := v.Secret.DefaultMode; mode == nil || *mode != 0o440 || p.template.Spec.SecurityContext.FSGroup == nil {
					t.Errorf("%s: its key is not for its group alone", id(p.owner))
				}
				for _, c := range p.template.Spec.Containers {
					for _, m := range c.VolumeMounts {
						if m.Name == v.Name && (m.SubPath != "" || !m.ReadOnly || m.MountPath != "/certificates") {
							t.Errorf("%s: a renewed certificate would not arrive", id(p.owner))
						}
					}
				}
			}
		}
	})
}

var listed = regexp.MustCompile(`(?s)var Modules = \[\]string\{(.*?)\}`)

// modules are those of the logic tier.
func modules(t *testing.T) (all []string) {
	t.Helper()
	source, err := os.ReadFile("../../proto/transport/peers.go")
	if err != nil {
		t.Fatal(err)
	}
	match := listed.FindSubmatch(source)
	if match == nil {
		t.Fatal("package transport does not list the modules any more")
	}
	for name := range strings.SplitSeq(string(match[1]), ",") {
		all = append(all, strings.Trim(strings.TrimSpace(name), `"`))
	}
	return all
}

// hosted are the modules in a process of the logic tier.
func hosted(t *testing.T, c corev1.Container) []string {
	t.Helper()
	if list := argument(c, "modules"); list != "" {
		return strings.Split(list, ",")
	}
	return modules(t)
}

// whereabouts are the addresses of modules as the programs read them: those that are not
// named are at the address without a name, under "".
func whereabouts(text string) map[string]string {
	at := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		module, address, named := strings.Cut(part, "=")
		if !named {
			module, address = "", part
		}
		if address != "" {
			at[module] = address
		}
	}
	return at
}

// Each module is in one Deployment that serves, and whoever may ask for it is told so.
func TestEveryModuleHasOneHost(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		hosts := map[string][]string{} // module -> Deployments
		for _, p := range made.pods(t) {
			if p.template == nil || p.program() != "logic-tier" || p.template.Spec.Containers[0].Args[0] != "serve" {
				continue
			}
			for _, module := range hosted(t, p.template.Spec.Containers[0]) {
				hosts[module] = append(hosts[module], p.owner.GetName())
			}
		}
		if len(hosts) != len(modules(t)) {
			t.Errorf("there are %v, and hosts of %v", modules(t), hosts)
		}
		for _, p := range made.pods(t) {
			if p.template == nil || p.program() == "data-tier" {
				continue
			}
			c := p.template.Spec.Containers[0]
			told, own := whereabouts(argument(c, "peer")), []string(nil)
			if p.program() == "logic-tier" {
				own = hosted(t, c)
			} else {
				told = whereabouts(environmentOf(t, made, c)["LOGIC_ADDRESS"])
			}
			for _, module := range modules(t) {
				if len(hosts[module]) != 1 {
					t.Fatalf("%s is in %v", module, hosts[module])
				}
				address := cmp.Or(told[module], told[""])
				// The service of a Deployment is named as it is.
				if want := "dns:///" + hosts[module][0] + ":9090"; !slices.Contains(own, module) && address != want {
					t.Errorf("%s: is told that %s is at %q; it is at %s", id(p.owner), module, address, want)
				}
			}
		}
	})
}

// Behind a gateway that the web tier does not believe, all clients share one limit; one
// that believes everybody lets each client choose its address.
func TestWebTierTrustsTheGatewayForClientAddresses(t *testing.T) {
	eachSite(t, func(t *testing.T, made manifests) {
		for _, p := range made.pods(t) {
			if p.template == nil || p.program() != "web-tier" {
				continue
			}
			for _, c := range p.template.Spec.Containers {
				network, err := netip.ParsePrefix(environmentOf(t, made, c)["TRUSTED_PROXIES"])
				if err != nil || network.Bits() == 0 {
					t.Errorf("%s: TRUSTED_PROXIES is %q, want the network of the gateway's pods", id(p.owner), environmentOf(t, made, c)["TRUSTED_PROXIES"])
				}
			}
		}
	})
}
