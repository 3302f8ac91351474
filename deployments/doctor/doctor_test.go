package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"techtalks.example/deployments/certificates"
)

// told is what a host's doctor is told in its environment.
type told map[string]string

// but is the same with something else.
func (e told) but(name, value string) told {
	e = maps.Clone(e)
	e[name] = value
	return e
}

func onWeb(t *testing.T) told {
	return told{"FROM": "web", "CERTIFICATES": own(t, "web-tier"), "LOGIC_ADDRESS": the.logicAt, "CLOSED": the.none}
}

func onLogic(t *testing.T) told {
	return told{"FROM": "logic", "CERTIFICATES": own(t, "logic-tier"), "DATA_ADDRESS": the.data + "," + the.standbyAt, "BROKER": "amqps://" + the.broker + "/techtalks"}
}

func onData(t *testing.T) told {
	return told{"FROM": "data", "CERTIFICATES": own(t, "data-tier"), "DATA_ADDRESS": the.data + "," + the.standbyAt, "DATA_HOST": "localhost,127.0.0.1",
		"DATA_DIRECTORY": the.directory("data"), "ARCHIVE": the.directory("archive")}
}

// own is a folder with what one program needs, as it is handed out to its host.
func own(t *testing.T, program string) string {
	t.Helper()
	return handOut(t, the.certificates(), program)
}

func handOut(t *testing.T, from, program string) string {
	t.Helper()
	to := t.TempDir()
	if err := certificates.Deliver(from, program, to, os.Getuid()); err != nil {
		t.Fatal(err)
	}
	return to
}

// ask runs the doctor, as a process of its own, and returns what it printed.
func ask(t *testing.T, e told, arguments ...string) (output string, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), the.program("doctor"), arguments...)
	for name, value := range e {
		command.Env = append(command.Env, name+"="+value)
	}
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

// What is well is said to be, from each standpoint, and named.
func TestAllIsWell(t *testing.T) {
	for name, c := range map[string]struct {
		told  told
		lines []string
	}{
		"web": {onWeb(t), []string{
			"ok    name 127.0.0.1: ", "web-tier.crt, authority: of the authority in ca.crt", "web-tier.crt, name: names spiffe://techtalks.example/web-tier",
			"web-tier.crt, dates: valid until ", "web-tier.key: is that of web-tier.crt", "permissions: 0600",
			"ok    " + the.logicAt + ": is reached", the.logicAt + ", its certificate, name: names spiffe://techtalks.example/logic-tier",
			"ok    " + the.logicAt + ", without a certificate: refused", the.logicAt + ", health: it says SERVING",
			"ok    " + the.none + " from here: out of reach",
		}},
		"operator": {told{"FROM": "operator", "CERTIFICATES": own(t, "operator"), "LOGIC_ADDRESS": "talks=" + the.logicAt + ",dns:///" + the.logicAt}, []string{"health: it says SERVING"}},
		"logic": {onLogic(t), []string{
			the.data + ", its certificate, name: names 127.0.0.1", the.data + ", without a certificate: refused: connection requires a valid client certificate",
			the.data + ", without TLS: refused", the.data + ", clock: ", the.data + ", role in the tier: the primary, which takes writes",
			the.standbyAt + ", role in the tier: a standby, which follows its primary",
			the.data + ", role accounts: logged in by certificate; reads none of the ", the.standbyAt + ", role queue: logged in",
			"data tier: " + the.data + " takes writes", the.standbyAt + ", lag: ", "schemas of the hosts: have the same versions",
			the.broker + ", without a certificate: refused", the.broker + ", login: logged in to the virtual host techtalks of RabbitMQ ",
		}},
		"data": {onData(t), []string{"data-tier.crt, name: names spiffe://techtalks.example/data-tier, localhost, 127.0.0.1", "role replicator: logged in", "disk of the data", "disk of the WAL archive"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, code := ask(t, c.told)
			if code != 0 || strings.Contains(output, "WRONG") {
				t.Errorf("exits with %d:\n%s", code, output)
			}
			for _, line := range c.lines {
				if !strings.Contains(output, line) {
					t.Errorf("no %q in\n%s", line, output)
				}
			}
		})
	}
}

// The schema's version is asked for in every module.
func TestVersionsAreKnown(t *testing.T) {
	output, _ := ask(t, onLogic(t))
	for module := range newest {
		if !strings.Contains(output, "role "+module+": ") || strings.Contains(output, "may not ask") {
			t.Errorf("%s:\n%s", module, output)
		}
	}
}

func TestNewestIsWhatTheDataTierHas(t *testing.T) {
	files, err := filepath.Glob("../../data-tier/schema/*/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]int64{}
	for _, file := range files {
		there[filepath.Base(filepath.Dir(file))]++
	}
	if !maps.Equal(there, newest) {
		t.Errorf("the data tier has %v, and the doctor knows %v: see schema.go", there, newest)
	}
}

// wrongly is one thing that is broken, and what is said of it.
type wrongly struct {
	told              func(t *testing.T) told
	about, found, fix string
}

func TestWhatIsWrongIsSaidWithItsFix(t *testing.T) {
	for name, c := range map[string]wrongly{
		"a setting that is missing": {func(t *testing.T) told { return onWeb(t).but("LOGIC_ADDRESS", "") },
			"setting LOGIC_ADDRESS", "it is missing", "LOGIC_ADDRESS=logic.example.net:9090"},
		"no certificates named": {func(t *testing.T) told { return onLogic(t).but("CERTIFICATES", "") },
			"setting CERTIFICATES", "it is missing", "CERTIFICATES=/etc/techtalks/certificates"},
		"no name of the data tier's host": {func(t *testing.T) told { return onData(t).but("DATA_HOST", "") },
			"setting DATA_HOST", "it is missing", "DATA_HOST=data.example.net"},
		"a setting that is no address": {func(t *testing.T) told { return onLogic(t).but("DATA_ADDRESS", "data") },
			"setting DATA_ADDRESS", `"data" is no host:port`, "use host:port"},
		"a broker that is no address": {func(t *testing.T) told { return onLogic(t).but("BROKER", "rabbitmq") },
			"setting BROKER", "begins with neither", "amqps://host:port/vhost"},
		"a wrong port": {func(t *testing.T) told { return onWeb(t).but("LOGIC_ADDRESS", the.none) },
			the.none, "nobody listens on this port", "docker compose ps"},
		"a port of something else": {func(t *testing.T) told { return onWeb(t).but("LOGIC_ADDRESS", the.data) },
			the.data + ", its certificate", "no TLS", "the right port"},
		"silence": {func(t *testing.T) told { return onWeb(t).but("LOGIC_ADDRESS", silent(t)).but("DEADLINE", "300ms") },
			", its certificate", "no TLS", "the right port"},
		"a name that does not resolve": {func(t *testing.T) told { return onWeb(t).but("LOGIC_ADDRESS", "dns:///nowhere.invalid:9090") },
			"name nowhere.invalid", "does not resolve", "/etc/hosts"},
		"a port that is open and must be closed": {func(t *testing.T) told { return onWeb(t).but("CLOSED", the.none+","+the.data) },
			the.data + " from here", "it is reached, and must not be", "firewall"},
		"no certificates in the folder": {func(t *testing.T) told { return onWeb(t).but("CERTIFICATES", t.TempDir()) },
			"web-tier.crt", "it is not there", "deployments/certificates/issue"},
		"a certificate that ended": {func(t *testing.T) told { return onWeb(t).but("CERTIFICATES", lasting(t, -time.Minute, "web-tier")) },
			"web-tier.crt, dates", "it ended on", "issue with -deliver web-tier="},
		"a certificate that ends soon": {func(t *testing.T) told {
			return onLogic(t).but("CERTIFICATES", lasting(t, 10*24*time.Hour+time.Hour, "logic-tier"))
		}, "logic-tier.crt, dates", "in 10 days", "issue with -deliver logic-tier="},
		"a certificate of another authority": {func(t *testing.T) told {
			return onWeb(t).but("CERTIFICATES", handOut(t, foreign(t), "web-tier"))
		}, the.logicAt + ", its certificate, authority", "not of the authority in ca.crt here", "certificates of one authority"},
		"a certificate that our authority did not sign": {func(t *testing.T) told {
			return onWeb(t).but("CERTIFICATES", with(t, "web-tier", filepath.Join(foreign(t), "web-tier.crt"), "web-tier.crt", filepath.Join(foreign(t), "web-tier.key"), "web-tier.key"))
		}, "web-tier.crt, authority", "not of the authority in ca.crt here", "certificates of one authority"},
		"another program's certificate": {func(t *testing.T) told {
			from := the.certificates()
			return onWeb(t).but("CERTIFICATES", with(t, "web-tier", filepath.Join(from, "operator.crt"), "web-tier.crt", filepath.Join(from, "operator.key"), "web-tier.key"))
		}, "web-tier.crt, name", "should be that of spiffe://techtalks.example/web-tier", "certificate of web-tier"},
		"a key that is another's": {func(t *testing.T) told {
			return onWeb(t).but("CERTIFICATES", with(t, "web-tier", filepath.Join(the.certificates(), "operator.key"), "web-tier.key"))
		}, "web-tier.key", "is not that of web-tier.crt", "copy both from the same folder"},
		"a key that everybody may read": {func(t *testing.T) told {
			folder := own(t, "logic-tier")
			if err := os.Chmod(filepath.Join(folder, "logic-tier.key"), 0o644); err != nil {
				t.Fatal(err)
			}
			return onLogic(t).but("CERTIFICATES", folder)
		}, "logic-tier.key, permissions", "0644", "chmod 600"},
		"a data tier whose certificate does not name its host": {func(t *testing.T) told { return onData(t).but("DATA_HOST", "data.example.net") },
			"data-tier.crt, name", "does not name data.example.net", "-hosts"},
		"a logic tier without its data tier": {func(t *testing.T) told {
			p, at, err := the.startLogic(the.none, "msg=serving")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.stop)
			return onWeb(t).but("LOGIC_ADDRESS", at)
		}, ", health", "NOT_SERVING", "/readyz says why"},
		"somebody who lets in whoever comes": {func(t *testing.T) told { return onWeb(t).but("LOGIC_ADDRESS", indiscriminate(t)) },
			", without a certificate", "let in", "ask for certificates"},
		"a virtual host that is not there": {func(t *testing.T) told { return onLogic(t).but("BROKER", "amqps://"+the.broker+"/elsewhere") },
			the.broker + ", login", "not_allowed", "deployments/broker/definitions.json"},
		"a standby without its primary": {func(t *testing.T) told { return onLogic(t).but("DATA_ADDRESS", the.standbyAt) },
			"data tier", "nobody takes writes", "data-tier promote"},
		"no backup": {func(t *testing.T) told { return onData(t).but("BACKUPS", t.TempDir()) },
			"newest backup", "there is none", "data-tier backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, c.told(t), c.about, c.found, c.fix)
		})
	}
}

// expect has the doctor find something wrong.
func expect(t *testing.T, e told, about, found, fix string) {
	t.Helper()
	output, code := ask(t, e, "-json")
	var all []finding
	if err := json.Unmarshal([]byte(output), &all); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, f := range all {
		if f.Verdict == wrong && f.Fix == "" {
			t.Errorf("%s is wrong, and no fix is said", f.About)
		}
	}
	if code != 1 || !slices.ContainsFunc(all, func(f finding) bool {
		return f.Verdict == wrong && strings.Contains(f.About, about) && strings.Contains(strings.ToLower(f.Found), strings.ToLower(found)) && strings.Contains(f.Fix, fix)
	}) {
		t.Errorf("exits with %d, and does not say %q of %q with %q:\n%s", code, found, about, fix, output)
	}
}

func TestTextIsALineACheckAndAFix(t *testing.T) {
	output, code := ask(t, onWeb(t).but("CLOSED", the.data))
	if code != 1 || !strings.Contains(output, "WRONG "+the.data+" from here: it is reached, and must not be\n      have a firewall") {
		t.Errorf("exits with %d:\n%s", code, output)
	}
}

func TestHowItIsCalled(t *testing.T) {
	for _, c := range []struct {
		told told
		says string
	}{
		{told{}, "say with -from (FROM) which host this is"},
		{told{"FROM": "moon"}, `not "moon"`},
		{onWeb(t).but("DEADLINE", "soon"), "DEADLINE: use a duration such as 5s"},
	} {
		if output, code := ask(t, c.told); code != 2 || !strings.Contains(output, c.says) {
			t.Errorf("exits with %d: %s", code, output)
		}
	}
}
