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

// environment is the environment of a doctor.
type environment map[string]string

// with returns a copy with one variable changed.
func (e environment) with(name, value string) environment {
	e = maps.Clone(e)
	e[name] = value
	return e
}

func onWeb(t *testing.T) environment {
	return environment{"FROM": "web", "CERTIFICATES": certificateFolder(t, "web-tier"), "LOGIC_ADDRESS": shared.logicAddress, "CLOSED": shared.unused}
}

func onLogic(t *testing.T) environment {
	return environment{"FROM": "logic", "CERTIFICATES": certificateFolder(t, "logic-tier"), "DATA_ADDRESS": shared.dataAddress + "," + shared.standbyAddress, "BROKER": "amqps://" + shared.brokerAddress + "/techtalks"}
}

func onData(t *testing.T) environment {
	return environment{"FROM": "data", "CERTIFICATES": certificateFolder(t, "data-tier"), "DATA_ADDRESS": shared.dataAddress + "," + shared.standbyAddress, "DATA_HOST": "localhost,127.0.0.1",
		"DATA_DIRECTORY": shared.directory("data"), "ARCHIVE": shared.directory("archive")}
}

// certificateFolder returns a folder with a program's certificate, as delivered to its host.
func certificateFolder(t *testing.T, program string) string {
	t.Helper()
	return deliverCertificate(t, shared.certificates(), program)
}

func deliverCertificate(t *testing.T, authority, program string) string {
	t.Helper()
	folder := t.TempDir()
	if err := certificates.Deliver(authority, program, folder, os.Getuid()); err != nil {
		t.Fatal(err)
	}
	return folder
}

// runDoctor runs the doctor and returns its output and exit code.
func runDoctor(t *testing.T, e environment, arguments ...string) (output string, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), shared.program("doctor"), arguments...)
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

func TestDoctorFindsNoFaultInHealthySite(t *testing.T) {
	for name, c := range map[string]struct {
		environment environment
		lines       []string
	}{
		"web": {onWeb(t), []string{
			"ok    name 127.0.0.1: ", "web-tier.crt, authority: issued by the authority in ca.crt", "web-tier.crt, name: names spiffe://techtalks.example/web-tier",
			"web-tier.crt, dates: valid until ", "web-tier.key: matches web-tier.crt", "permissions: 0600",
			"ok    " + shared.logicAddress + ": reachable", shared.logicAddress + ", certificate, name: names spiffe://techtalks.example/logic-tier",
			"ok    " + shared.logicAddress + ", without a certificate: refused", shared.logicAddress + ", health: status SERVING",
			"ok    " + shared.unused + " from here: unreachable",
		}},
		"operator": {environment{"FROM": "operator", "CERTIFICATES": certificateFolder(t, "operator"), "LOGIC_ADDRESS": "talks=" + shared.logicAddress + ",dns:///" + shared.logicAddress}, []string{"health: status SERVING"}},
		"logic": {onLogic(t), []string{
			shared.dataAddress + ", certificate, name: names 127.0.0.1", shared.dataAddress + ", without a certificate: refused: connection requires a valid client certificate",
			shared.dataAddress + ", without TLS: refused", shared.dataAddress + ", clock: ", shared.dataAddress + ", role in the tier: the primary, writable",
			shared.standbyAddress + ", role in the tier: a standby that follows its primary",
			shared.dataAddress + ", role accounts: logged in by certificate; can read none of the ", shared.standbyAddress + ", role queue: logged in",
			"data tier: the primary is " + shared.dataAddress, shared.standbyAddress + ", lag: ", "schemas of the hosts: same versions on all hosts",
			shared.brokerAddress + ", without a certificate: refused", shared.brokerAddress + ", login: logged in to the virtual host techtalks of RabbitMQ ",
		}},
		"data": {onData(t), []string{"data-tier.crt, name: names spiffe://techtalks.example/data-tier, localhost, 127.0.0.1", "role replicator: logged in", "disk of the data", "disk of the WAL archive"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, code := runDoctor(t, c.environment)
			if code != 0 || strings.Contains(output, "WRONG") {
				t.Errorf("got exit code %d:\n%s", code, output)
			}
			for _, line := range c.lines {
				if !strings.Contains(output, line) {
					t.Errorf("missing %q in\n%s", line, output)
				}
			}
		})
	}
}

func TestDoctorReadsSchemaVersionOfEachModule(t *testing.T) {
	output, _ := runDoctor(t, onLogic(t))
	for module := range newestVersions {
		if !strings.Contains(output, "role "+module+": ") || strings.Contains(output, "no permission") {
			t.Errorf("no schema version of %s:\n%s", module, output)
		}
	}
}

func TestNewestVersionsMatchMigrations(t *testing.T) {
	files, err := filepath.Glob("../../data-tier/schema/*/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	migrations := map[string]int64{}
	for _, file := range files {
		migrations[filepath.Base(filepath.Dir(file))]++
	}
	if !maps.Equal(migrations, newestVersions) {
		t.Errorf("got versions %v, want those of the migrations, %v: update schema.go", newestVersions, migrations)
	}
}

// failureCase is an environment with one fault, and the expected finding.
type failureCase struct {
	environment       func(t *testing.T) environment
	about, found, fix string
}

func TestDoctorReportsFaultWithFix(t *testing.T) {
	for name, c := range map[string]failureCase{
		"missing setting": {func(t *testing.T) environment { return onWeb(t).with("LOGIC_ADDRESS", "") },
			"setting LOGIC_ADDRESS", "missing", "LOGIC_ADDRESS=logic.example.net:9090"},
		"missing certificates": {func(t *testing.T) environment { return onLogic(t).with("CERTIFICATES", "") },
			"setting CERTIFICATES", "missing", "CERTIFICATES=/etc/techtalks/certificates"},
		"missing name of the data tier's host": {func(t *testing.T) environment { return onData(t).with("DATA_HOST", "") },
			"setting DATA_HOST", "missing", "DATA_HOST=data.example.net"},
		"invalid address": {func(t *testing.T) environment { return onLogic(t).with("DATA_ADDRESS", "data") },
			"setting DATA_ADDRESS", `"data" is not host:port`, "use host:port"},
		"invalid address of the broker": {func(t *testing.T) environment { return onLogic(t).with("BROKER", "rabbitmq") },
			"setting BROKER", "must begin with amqps://", "amqps://host:port/vhost"},
		"wrong port": {func(t *testing.T) environment { return onWeb(t).with("LOGIC_ADDRESS", shared.unused) },
			shared.unused, "no process listens on this port", "docker compose ps"},
		"port of another program": {func(t *testing.T) environment { return onWeb(t).with("LOGIC_ADDRESS", shared.dataAddress) },
			shared.dataAddress + ", certificate", "TLS handshake failed", "the right port"},
		"no answer": {func(t *testing.T) environment {
			return onWeb(t).with("LOGIC_ADDRESS", silentListener(t)).with("DEADLINE", "300ms")
		},
			", certificate", "TLS handshake failed", "the right port"},
		"unknown host name": {func(t *testing.T) environment { return onWeb(t).with("LOGIC_ADDRESS", "dns:///nowhere.invalid:9090") },
			"name nowhere.invalid", "does not resolve", "/etc/hosts"},
		"open port that must be closed": {func(t *testing.T) environment { return onWeb(t).with("CLOSED", shared.unused+","+shared.dataAddress) },
			shared.dataAddress + " from here", "reachable, but must not be", "firewall"},
		"empty certificate folder": {func(t *testing.T) environment { return onWeb(t).with("CERTIFICATES", t.TempDir()) },
			"web-tier.crt", "does not exist", "deployments/certificates/issue"},
		"expired certificate": {func(t *testing.T) environment {
			return onWeb(t).with("CERTIFICATES", expiringCertificate(t, -time.Minute, "web-tier"))
		},
			"web-tier.crt, dates", "it expired on", "issue with -deliver web-tier="},
		"certificate that expires soon": {func(t *testing.T) environment {
			return onLogic(t).with("CERTIFICATES", expiringCertificate(t, 10*24*time.Hour+time.Hour, "logic-tier"))
		}, "logic-tier.crt, dates", "in 10 days", "issue with -deliver logic-tier="},
		"authority differs from the server's": {func(t *testing.T) environment {
			return onWeb(t).with("CERTIFICATES", deliverCertificate(t, foreignAuthority(t), "web-tier"))
		}, shared.logicAddress + ", certificate, authority", "not issued by the authority", "certificates of one authority"},
		"certificate of another authority": {func(t *testing.T) environment {
			return onWeb(t).with("CERTIFICATES", withFiles(t, "web-tier", filepath.Join(foreignAuthority(t), "web-tier.crt"), "web-tier.crt", filepath.Join(foreignAuthority(t), "web-tier.key"), "web-tier.key"))
		}, "web-tier.crt, authority", "not issued by the authority", "certificates of one authority"},
		"certificate of another program": {func(t *testing.T) environment {
			from := shared.certificates()
			return onWeb(t).with("CERTIFICATES", withFiles(t, "web-tier", filepath.Join(from, "operator.crt"), "web-tier.crt", filepath.Join(from, "operator.key"), "web-tier.key"))
		}, "web-tier.crt, name", "want spiffe://techtalks.example/web-tier", "certificate of web-tier"},
		"key of another program": {func(t *testing.T) environment {
			return onWeb(t).with("CERTIFICATES", withFiles(t, "web-tier", filepath.Join(shared.certificates(), "operator.key"), "web-tier.key"))
		}, "web-tier.key", "does not match web-tier.crt", "copy both from the same folder"},
		"key readable by other users": {func(t *testing.T) environment {
			folder := certificateFolder(t, "logic-tier")
			if err := os.Chmod(filepath.Join(folder, "logic-tier.key"), 0o644); err != nil {
				t.Fatal(err)
			}
			return onLogic(t).with("CERTIFICATES", folder)
		}, "logic-tier.key, permissions", "0644", "chmod 600"},
		"certificate without the host's name": {func(t *testing.T) environment { return onData(t).with("DATA_HOST", "data.example.net") },
			"data-tier.crt, name", "does not name data.example.net", "-hosts"},
		"logic tier without its data tier": {func(t *testing.T) environment {
			p, address, err := shared.startLogic(shared.unused, "msg=serving")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.stop)
			return onWeb(t).with("LOGIC_ADDRESS", address)
		}, ", health", "NOT_SERVING", "/readyz returns the reason"},
		"server that accepts clients without certificate": {func(t *testing.T) environment { return onWeb(t).with("LOGIC_ADDRESS", unauthenticatedListener(t)) },
			", without a certificate", "does not require a client certificate", "which requires one"},
		"missing virtual host": {func(t *testing.T) environment {
			return onLogic(t).with("BROKER", "amqps://"+shared.brokerAddress+"/elsewhere")
		},
			shared.brokerAddress + ", login", "not_allowed", "deployments/broker/definitions.json"},
		"standby without its primary": {func(t *testing.T) environment { return onLogic(t).with("DATA_ADDRESS", shared.standbyAddress) },
			"data tier", "no primary", "data-tier promote"},
		"missing backup": {func(t *testing.T) environment { return onData(t).with("BACKUPS", t.TempDir()) },
			"newest backup", "no backup", "data-tier backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectFailure(t, c.environment(t), c.about, c.found, c.fix)
		})
	}
}

// expectFailure runs the doctor and checks that it reports a failure with its fix.
func expectFailure(t *testing.T, e environment, about, found, fix string) {
	t.Helper()
	output, code := runDoctor(t, e, "-json")
	var all []finding
	if err := json.Unmarshal([]byte(output), &all); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, f := range all {
		if f.Verdict == verdictWrong && f.Fix == "" {
			t.Errorf("no fix for %s", f.About)
		}
	}
	if code != 1 || !slices.ContainsFunc(all, func(f finding) bool {
		return f.Verdict == verdictWrong && strings.Contains(f.About, about) && strings.Contains(strings.ToLower(f.Found), strings.ToLower(found)) && strings.Contains(f.Fix, fix)
	}) {
		t.Errorf("got exit code %d, want 1 and %q of %q with fix %q:\n%s", code, found, about, fix, output)
	}
}

func TestTextOutputHasFixBelowFailedCheck(t *testing.T) {
	output, code := runDoctor(t, onWeb(t).with("CLOSED", shared.dataAddress))
	if code != 1 || !strings.Contains(output, "WRONG "+shared.dataAddress+" from here: reachable, but must not be\n      block it with a firewall") {
		t.Errorf("got exit code %d:\n%s", code, output)
	}
}

func TestDoctorRejectsInvalidSettings(t *testing.T) {
	for _, c := range []struct {
		environment environment
		want        string
	}{
		{environment{}, "invalid -from (FROM)"},
		{environment{"FROM": "moon"}, `"moon"`},
		{onWeb(t).with("DEADLINE", "soon"), "DEADLINE: use a duration such as 5s"},
	} {
		if output, code := runDoctor(t, c.environment); code != 2 || !strings.Contains(output, c.want) {
			t.Errorf("got exit code %d: %s", code, output)
		}
	}
}
