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

// programSettings are the commands and settings in a program's source.
type programSettings struct {
	commands, flags, variables []string
	// certificates are the names of its certificate files.
	certificates []string
}

// sources are the files that define each program's settings.
var sources = map[string][]string{
	"web-tier":   {"../../web-tier/settings.go", "../../web-tier/main.go"},
	"logic-tier": {"../../logic-tier/app/settings.go", "../../logic-tier/app/command.go"},
	"data-tier":  {"../../data-tier/main.go"},
}

var (
	textFlags    = regexp.MustCompile(`text\(&[\w.]+, "([a-z-]+)", "([A-Z_]+)"`)
	otherFlags   = regexp.MustCompile(`flags\.\w+\(&[\w.]+, "([a-z-]+)"`)
	getenv       = regexp.MustCompile(`os\.Getenv\("([A-Z_]+)"\)`)
	commands     = regexp.MustCompile(`case "([a-z]+)":`)
	certificates = regexp.MustCompile(`directory with (ca\.crt), ([a-z-]+\.crt) and ([a-z-]+\.key)`)
)

func readSettings(t *testing.T, program string) (found programSettings) {
	t.Helper()
	for _, file := range sources[program] {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(source)
		for _, m := range textFlags.FindAllStringSubmatch(text, -1) {
			found.flags, found.variables = append(found.flags, m[1]), append(found.variables, m[2])
		}
		for _, m := range otherFlags.FindAllStringSubmatch(text, -1) {
			found.flags = append(found.flags, m[1])
		}
		for _, m := range getenv.FindAllStringSubmatch(text, -1) {
			found.variables = append(found.variables, m[1])
		}
		for _, m := range commands.FindAllStringSubmatch(text, -1) {
			found.commands = append(found.commands, m[1])
		}
		if m := certificates.FindStringSubmatch(text); m != nil {
			found.certificates = m[1:]
		}
	}
	if len(found.flags) < 4 || len(found.variables) < 4 || len(found.commands) < 2 || len(found.certificates) != 3 {
		t.Fatalf("%s: found only %+v", program, found)
	}
	return found
}

// environmentOf returns the environment of a container, including that from ConfigMaps.
func environmentOf(t *testing.T, objects manifests, c corev1.Container) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, source := range c.EnvFrom {
		shared := objects.named("ConfigMap", source.ConfigMapRef.Name)
		if shared == nil {
			t.Fatalf("%s: the ConfigMap %s does not exist", c.Name, source.ConfigMapRef.Name)
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

// checkSettings returns an error if a container has a command, flag or variable that its
// program does not know.
func checkSettings(t *testing.T, objects manifests, program string, c corev1.Container) error {
	t.Helper()
	known := readSettings(t, program)
	for name := range environmentOf(t, objects, c) {
		if !slices.Contains(known.variables, name) {
			return fmt.Errorf("%s has no setting %s", program, name)
		}
	}
	if len(c.Args) == 0 || !slices.Contains(known.commands, c.Args[0]) {
		return fmt.Errorf("%s has no command for %q", program, c.Args)
	}
	for _, a := range c.Args[1:] {
		name, _, hasValue := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if !strings.HasPrefix(a, "--") || !hasValue || !slices.Contains(known.flags, name) {
			return fmt.Errorf("%s has no flag %s", program, a)
		}
	}
	return nil
}

func TestContainersUseKnownSettings(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, p := range objects.pods(t) {
			if p.template == nil {
				continue
			}
			for _, c := range p.template.Spec.Containers {
				if err := checkSettings(t, objects, p.program(), c); err != nil {
					t.Errorf("%s: %v", id(p.owner), err)
				}
			}
		}
	})
}

// Each program gets its own certificate, under the file names that it reads, and no other key.
func TestProgramsMountOnlyTheirCertificate(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, p := range objects.pods(t) {
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
				if v.Secret.SecretName != program+"-certificate" || !slices.Equal(files, readSettings(t, program).certificates) {
					t.Errorf("%s: mounts %s as %v", id(p.owner), v.Secret.SecretName, files)
				}
				// lib/pq accepts a key of root's that its group can read, with no further permissions.
				if mode := v.Secret.DefaultMode; mode == nil || *mode != 0o440 || p.template.Spec.SecurityContext.FSGroup == nil {
					t.Errorf("%s: the key is not readable by exactly its owner and group", id(p.owner))
				}
				for _, c := range p.template.Spec.Containers {
					for _, m := range c.VolumeMounts {
						if m.Name == v.Name && (m.SubPath != "" || !m.ReadOnly || m.MountPath != "/certificates") {
							t.Errorf("%s: a renewed certificate would not be visible", id(p.owner))
						}
					}
				}
			}
		}
	})
}

var moduleList = regexp.MustCompile(`(?s)var Modules = \[\]string\{(.*?)\}`)

// modules returns the modules of the logic tier.
func modules(t *testing.T) (all []string) {
	t.Helper()
	source, err := os.ReadFile("../../proto/transport/peers.go")
	if err != nil {
		t.Fatal(err)
	}
	match := moduleList.FindSubmatch(source)
	if match == nil {
		t.Fatal("package transport has no list of modules")
	}
	for name := range strings.SplitSeq(string(match[1]), ",") {
		all = append(all, strings.Trim(strings.TrimSpace(name), `"`))
	}
	return all
}

// hostedModules returns the modules in a process of the logic tier.
func hostedModules(t *testing.T, c corev1.Container) []string {
	t.Helper()
	if list := argument(c, "modules"); list != "" {
		return strings.Split(list, ",")
	}
	return modules(t)
}

// parsePeers parses the addresses of modules as the programs do. The address without a name,
// under "", is that of all other modules.
func parsePeers(text string) map[string]string {
	addresses := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		module, address, named := strings.Cut(part, "=")
		if !named {
			module, address = "", part
		}
		if address != "" {
			addresses[module] = address
		}
	}
	return addresses
}

// Each module is in exactly one serving Deployment, and its callers have the address of that.
func TestEveryModuleHasOneKnownHost(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		hosts := map[string][]string{} // module -> Deployments
		for _, p := range objects.pods(t) {
			if p.template == nil || p.program() != "logic-tier" || p.template.Spec.Containers[0].Args[0] != "serve" {
				continue
			}
			for _, module := range hostedModules(t, p.template.Spec.Containers[0]) {
				hosts[module] = append(hosts[module], p.owner.GetName())
			}
		}
		if len(hosts) != len(modules(t)) {
			t.Errorf("got hosts %v, want one for each of %v", hosts, modules(t))
		}
		for _, p := range objects.pods(t) {
			if p.template == nil || p.program() == "data-tier" {
				continue
			}
			c := p.template.Spec.Containers[0]
			addresses, local := parsePeers(argument(c, "peer")), []string(nil)
			if p.program() == "logic-tier" {
				local = hostedModules(t, c)
			} else {
				addresses = parsePeers(environmentOf(t, objects, c)["LOGIC_ADDRESS"])
			}
			for _, module := range modules(t) {
				if len(hosts[module]) != 1 {
					t.Fatalf("%s: got hosts %v, want one", module, hosts[module])
				}
				address := cmp.Or(addresses[module], addresses[""])
				// A service has the name of its Deployment.
				if want := "dns:///" + hosts[module][0] + ":9090"; !slices.Contains(local, module) && address != want {
					t.Errorf("%s: got address %q of %s, want %s", id(p.owner), address, module, want)
				}
			}
		}
	})
}

// If the web tier does not trust the gateway, all clients share one limit; if it trusts every
// peer, each client can choose its address.
func TestWebTierTrustsTheGatewayForClientAddresses(t *testing.T) {
	eachSite(t, func(t *testing.T, objects manifests) {
		for _, p := range objects.pods(t) {
			if p.template == nil || p.program() != "web-tier" {
				continue
			}
			for _, c := range p.template.Spec.Containers {
				network, err := netip.ParsePrefix(environmentOf(t, objects, c)["TRUSTED_PROXIES"])
				if err != nil || network.Bits() == 0 {
					t.Errorf("%s: TRUSTED_PROXIES is %q, want the network of the gateway's pods", id(p.owner), environmentOf(t, objects, c)["TRUSTED_PROXIES"])
				}
			}
		}
	})
}
