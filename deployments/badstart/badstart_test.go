package badstart

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	_ "github.com/lib/pq" // the driver "postgres"
)

// writeFile creates a file in the tests' folder.
func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(in(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A tier exits if a setting is wrong and waiting cannot help. The message names the setting, its
// value and the fix.
func TestStartFailsAndNamesWrongSetting(t *testing.T) {
	listener := listen(t)
	t.Cleanup(func() { _ = listener.Close() })
	occupied := listener.Addr().String()
	writeFile(t, "diary/diary.txt", "text")
	writeFile(t, "newer/PG_VERSION", "99\n")
	for _, c := range []struct {
		tier, settings string
		want           []string
	}{
		{"web-tier", "--logic-adress a:1", []string{"not defined: -logic-adress", "-logic-address"}},
		{"web-tier", "--secure-cookies false", []string{`["false"]`, "--name=false"}},
		{"web-tier", "SECURE_COOKIES=maybe", []string{"SECURE_COOKIES", `"maybe"`, "use true or false"}},
		{"web-tier", "DRAIN_DELAY=5", []string{"DRAIN_DELAY", `"5"`, "such as 5s"}},
		{"web-tier", "--drain-delay -5s", []string{"--drain-delay (DRAIN_DELAY) -5s", "use 0s or more"}},
		{"web-tier", "TRUSTED_PROXIES=proxy.example.net", []string{"--trusted-proxies (TRUSTED_PROXIES)", `"proxy.example.net"`, "as in 10.1.0.0/16"}},
		{"web-tier", "--trusted-proxies 0.0.0.0/0", []string{"--trusted-proxies (TRUSTED_PROXIES)", `"0.0.0.0/0"`, "list only the networks of your proxies"}},
		{"web-tier", "--proxy-header X-Real-IP", []string{"--proxy-header (PROXY_HEADER)", `"X-Real-IP"`, "use X-Forwarded-For, Forwarded or PROXY"}},
		{"web-tier", "PROXY_HEADER=PROXY", []string{"--proxy-header (PROXY_HEADER) PROXY", "--trusted-proxies (TRUSTED_PROXIES)"}},
		{"web-tier", "LISTEN_ADDRESS=" + occupied, []string{"--listen-address (LISTEN_ADDRESS) " + occupied, "address already in use", "nothing else there listens on"}},
		{"web-tier", "--admin-address " + occupied, []string{"--admin-address (ADMIN_ADDRESS) " + occupied, "address already in use", "nothing else there listens on"}},
		{"web-tier", "--listen-address 192.0.2.1:8080", []string{"--listen-address (LISTEN_ADDRESS) 192.0.2.1:8080", "an address of this host"}},
		{"web-tier", "--listen-address localhost", []string{"--listen-address (LISTEN_ADDRESS) localhost", "missing port", "use host:port"}},
		{"web-tier", "--logic-address http://logic:9090", []string{"--logic-address (LOGIC_ADDRESS)", `"http://logic:9090"`, "use host:port"}},
		{"web-tier", "LOGIC_ADDRESS=logic:99999", []string{"--logic-address (LOGIC_ADDRESS)", `"logic:99999"`, "use host:port"}},
		{"web-tier", "--logic-address a:1,tlaks=b:1", []string{"--logic-address (LOGIC_ADDRESS)", `no module "tlaks"`, "there are accounts, talks"}},
		{"web-tier", "--logic-address talks=b:1", []string{"--logic-address (LOGIC_ADDRESS)", "talks=b:1", "use host:port of the logic tier"}},
		{"web-tier", "--certificates " + in("none"), []string{in("none") + "/ca.crt", "--certificates (CERTIFICATES)", "make them with deployments/certificates"}},
		{"web-tier", "--certificates " + in("no-key"), []string{"web-tier.key: no such file", "--certificates (CERTIFICATES)", "make them"}},
		{"web-tier", "--certificates " + in("other-key"), []string{"private key does not match", "--certificates (CERTIFICATES)", "make them"}},
		{"web-tier", "--certificates " + in("no-authority"), []string{"ca.crt holds no certificate", "--certificates (CERTIFICATES)", "make them"}},

		{"logic-tier", "--data", []string{"not defined: -data", "-data-address"}},
		{"logic-tier", "--work false", []string{`["false"]`, "--name=false"}},
		{"logic-tier", "WORK=maybe", []string{"WORK", `"maybe"`, "use true or false"}},
		{"logic-tier", "LISTEN_ADDRESS=" + occupied, []string{"--listen-address (LISTEN_ADDRESS) " + occupied, "address already in use", "nothing else there listens on"}},
		{"logic-tier", "--admin-address " + occupied, []string{"--admin-address (ADMIN_ADDRESS) " + occupied, "address already in use", "nothing else there listens on"}},
		{"logic-tier", "DATA_ADDRESS=data", []string{"--data-address (DATA_ADDRESS)", `"data"`, "use host:port"}},
		{"logic-tier", "--data-address data:99999", []string{"--data-address (DATA_ADDRESS)", `"data:99999"`, "use host:port"}},
		{"logic-tier", "--data-address data:5432,:5432", []string{"--data-address (DATA_ADDRESS)", `"data:5432,:5432"`, "use host:port"}},
		{"logic-tier", "BROKER=kafka://b:1", []string{"--broker (BROKER)", "neither amqps:// nor amqp://", "use amqps://host:port/vhost"}},
		{"logic-tier", "--broker amqps://b:99999/x", []string{"--broker (BROKER)", `"b:99999"`, "use amqps://host:port/vhost"}},
		{"logic-tier", "--broker amqp://b/x", []string{"--broker (BROKER)", "needs a user and a password", "use amqps://host:port/vhost"}},
		{"logic-tier", "QUEUES=media.recordings", []string{"--queues (QUEUES)", `no queue "media.recordings"`, "media.recording\n"}},
		{"logic-tier", "MODULES=tlaks", []string{"--modules (MODULES)", `no module "tlaks"`, "there are accounts, talks"}},
		{"logic-tier", "OPERATORS=ada,Grace", []string{"--operators (OPERATORS)", `"Grace"`, "use 3 to 30 lower-case letters"}},
		{"logic-tier", "--modules talks", []string{"--modules (MODULES)", "leaves the module accounts out", "--peer accounts=host:port (PEERS)"}},
		{"logic-tier", "PEERS=a:99999 --modules talks", []string{"--peer (PEERS)", `"a:99999"`, "use host:port"}},
		{"logic-tier", "CERTIFICATES=", []string{"certificates/ca.crt", "--certificates (CERTIFICATES)", "make them with deployments/certificates"}},
		{"logic-tier", "--certificates " + in("no-key"), []string{"logic-tier.key: no such file", "--certificates (CERTIFICATES)", "make them"}},
		{"logic-tier", "--certificates " + in("other-key"), []string{"private key does not match", "--certificates (CERTIFICATES)", "make them"}},
		{"logic-tier", "--certificates " + in("no-authority"), []string{"ca.crt holds no certificate", "--certificates (CERTIFICATES)", "make them"}},

		{"data-tier", "--standby", []string{"not defined: -standby", "-standby-of"}},
		{"data-tier", "now", []string{`["now"]`, "--name value"}},
		{"data-tier", "--listen-address localhost", []string{"--listen-address (LISTEN_ADDRESS)", `"localhost"`, "use host:port"}},
		{"data-tier", "LISTEN_ADDRESS=127.0.0.1:99999", []string{"--listen-address (LISTEN_ADDRESS)", `"127.0.0.1:99999"`, "use host:port"}},
		{"data-tier", "LISTEN_ADDRESS=" + occupied, []string{"--listen-address (LISTEN_ADDRESS) " + occupied, "address already in use", "nothing else there listens on"}},
		{"data-tier", "--standby-of data:99999", []string{"--standby-of (STANDBY_OF)", `"data:99999"`, "use host:port"}},
		{"data-tier", "--archive " + in("good/ca.crt"), []string{"--archive (ARCHIVE)", in("good/ca.crt"), "use a folder"}},
		{"data-tier", "--data-directory " + in("good/ca.crt"), []string{"--data-directory (DATA_DIRECTORY)", in("good/ca.crt"), "use one that is empty"}},
		{"data-tier", "--certificates " + in("other-key"), []string{"private key does not match", "--certificates (CERTIFICATES)", "make them"}},
		{"data-tier", "STANDBY_OF=data", []string{"--standby-of (STANDBY_OF)", `"data"`, "use host:port"}},
		{"data-tier", "PARTNER=data", []string{"--partner (PARTNER)", `"data"`, "use host:port"}},
		{"data-tier", "BINARIES=" + in("none"), []string{"no Postgres from version 15", "--binaries (BINARIES)", "apt-get install postgresql"}},
		{"data-tier", "--archive " + in("good/ca.crt/archive"), []string{"--archive (ARCHIVE)", "ca.crt: not a directory"}},
		{"data-tier", "--data-directory " + in("diary"), []string{in("diary"), "is not empty", "use another --data-directory (DATA_DIRECTORY)"}},
		{"data-tier", "--data-directory " + in("newer"), []string{"written by Postgres 99", "install Postgres 99", "pg_upgrade"}},
		{"data-tier", "--data-directory " + in("made/data") + " --certificates " + in("none"), []string{in("none") + "/", "--certificates (CERTIFICATES)", "make them with deployments/certificates"}},
	} {
		t.Run(c.tier+" "+c.settings, func(t *testing.T) {
			t.Parallel()
			p := start(t, c.tier, c.settings)
			p.awaitExit(t)
			if code := p.command.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit status: got %d, want 1", code)
			}
			if missing := firstMissing(p.output(), 1, c.want); missing != "" {
				t.Errorf("the output lacks %q:\n%s", missing, p.output())
			}
		})
	}
}

// A tier waits for conditions that can change while it runs, and logs repeatedly what it waits
// for.
func TestStartWaitsAndNamesMissingNeighbour(t *testing.T) {
	none := unusedAddress(t)
	refused := []string{none, "connection refused", "see whether it runs there"}
	expired := []string{"waiting for the certificate", "(--certificates, CERTIFICATES)", "certificate has expired", "put one made by deployments/certificates there"}
	named := []string{"waiting for the certificate", "(--certificates, CERTIFICATES)", "spiffe://techtalks.example/operator", "put one made by deployments/certificates there"}
	foreign := []string{"waiting for the certificate", "(--certificates, CERTIFICATES)", "unknown authority", "put one made by deployments/certificates there"}
	cases := []struct {
		tier, settings string
		want           []string
		process        *process
	}{
		{"web-tier", "LOGIC_ADDRESS=" + none, append(refused, "waiting for the logic tier", "(--logic-address, LOGIC_ADDRESS)"), nil},
		{"web-tier", "--logic-address unknown.invalid:9090", []string{"waiting for the logic tier", "(--logic-address, LOGIC_ADDRESS)", "lookup unknown.invalid", "see whether it runs there"}, nil},
		{"web-tier", "--certificates " + in("expired"), expired, nil},
		{"web-tier", "--certificates " + in("other-name"), named, nil},
		{"web-tier", "--certificates " + in("of-foreign"), foreign, nil},
		{"logic-tier", "DATA_ADDRESS=" + none, append(refused, "waiting for the data tier", "(--data-address, DATA_ADDRESS)"), nil},
		{"logic-tier", "--modules talks --peer " + none, append(refused, "waiting for the other modules (--peer, PEERS)"), nil},
		{"logic-tier", "BROKER=amqps://" + none + "/techtalks", append(refused, "waiting for the message broker (--broker, BROKER)"), nil},
		{"logic-tier", "CERTIFICATES=" + in("expired"), expired, nil},
		{"logic-tier", "--certificates " + in("other-name"), named, nil},
		{"logic-tier", "--certificates " + in("of-foreign"), foreign, nil},
		{"data-tier", "--certificates " + in("expired"), []string{"waiting for the certificate", "(--certificates, CERTIFICATES)", "certificate has expired", "put one made by deployments/certificates there"}, nil},
		{"data-tier", "DATA_DIRECTORY=" + in("follower/data") + " --standby-of " + none, append(refused, "waiting for the primary (--standby-of, STANDBY_OF)"), nil},
	}
	// In parallel: the processes mostly wait.
	for i, c := range cases {
		cases[i].process = start(t, c.tier, c.settings)
	}
	for _, c := range cases {
		t.Run(c.tier+" "+c.settings, func(t *testing.T) { c.process.awaitOutput(t, 2, c.want...) })
	}
	t.Run("logic-tier --scratch", func(t *testing.T) {
		start(t, "logic-tier", "--scratch "+in("good/ca.crt")).awaitOutput(t, 1, "(--scratch, SCRATCH)", in("good/ca.crt"), "not a directory", "use one that can be created and written to")
	})
}

var servingAddress = regexp.MustCompile(`msg=serving .*\baddress=(\S+)`)

// awaitServing waits until a tier serves, and returns its address.
func awaitServing(t *testing.T, p *process) string {
	t.Helper()
	p.awaitOutput(t, 1, "msg=serving")
	found := servingAddress.FindStringSubmatch(p.output())
	if found == nil {
		t.Fatalf("the output lacks the listen address:\n%s", p.output())
	}
	return found[1]
}

// The message distinguishes an incompatible neighbour from an unreachable one.
func TestStartNamesIncompatibleNeighbour(t *testing.T) {
	directory := in("primary/data")
	data := awaitServing(t, start(t, "data-tier", "DATA_DIRECTORY="+directory))
	text, err := os.ReadFile(filepath.Join(directory, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	// Connect over the Unix socket, whose folder is in the fifth line.
	_, port, _ := strings.Cut(data, ":")
	superuser, err := sql.Open("postgres", "host='"+strings.Split(string(text), "\n")[4]+"' port="+port+" user=postgres dbname=techtalks sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer superuser.Close()
	if _, err := superuser.ExecContext(t.Context(), `delete from migrations.talks where version_id > 1`); err != nil {
		t.Fatal(err)
	}
	outdated := start(t, "logic-tier", "--data-address "+data)
	foreign := start(t, "logic-tier", "--certificates "+in("foreign")+" --data-address "+data)
	expired := start(t, "logic-tier", "--certificates "+in("expired")+" --data-address "+data)
	ofForeign, ofExpired := awaitServing(t, foreign), awaitServing(t, expired)
	webOfForeign, webOfExpired := start(t, "web-tier", "--logic-address "+ofForeign), start(t, "web-tier", "--logic-address "+ofExpired)

	outdated.awaitOutput(t, 2, "waiting for the data tier to be migrated", "the schema talks has version 1, and this logic tier needs", "migrate the data tier first")
	foreign.awaitOutput(t, 2, "waiting for the data tier", "(--data-address, DATA_ADDRESS)", data, "unknown authority")
	webOfForeign.awaitOutput(t, 2, "waiting for the logic tier", "(--logic-address, LOGIC_ADDRESS)", ofForeign, "unknown authority")
	webOfExpired.awaitOutput(t, 2, "waiting for the logic tier", "(--logic-address, LOGIC_ADDRESS)", ofExpired, "certificate has expired")
}
