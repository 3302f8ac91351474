package kubernetes

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// lines returns the lines of a file of the repository without comments, each with one
// space between its words.
func lines(t *testing.T, file string) (all []string) {
	t.Helper()
	source, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for s := bufio.NewScanner(source); s.Scan(); {
		if words := strings.Fields(s.Text()); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			all = append(all, strings.Join(words, " "))
		}
	}
	return all
}

func without(all []string, of ...string) (left []string) {
	for _, one := range all {
		if !slices.Contains(of, one) {
			left = append(left, one)
		}
	}
	return left
}

// ofServe says whether a line is about what "data-tier serve" does, and here the
// operator: its own way in, by a socket, and standbys.
func ofServe(line string) bool {
	return strings.HasPrefix(line, "local ") || strings.Contains(line+" ", " replicator ")
}

// Who may come in is said once for each place, and is the same: but who migrates comes
// over the network here, and over a socket there.
func TestWhoMayComeInIsTheSame(t *testing.T) {
	cluster := build(t, "base").named("Cluster", "data-tier")
	access := paths(cluster.Object, "spec", "postgresql", "pg_hba", "*")
	want := slices.DeleteFunc(lines(t, "../../data-tier/pg_hba.conf"), ofServe)
	if got := without(access, "hostssl postgres,techtalks postgres all cert map=migration"); !slices.Equal(got, want) {
		t.Errorf("pg_hba:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// After these the operator's own file lets in who has a password.
	if access[len(access)-1] != "host all all all reject" {
		t.Error("pg_hba does not end with a refusal")
	}
	identities := paths(cluster.Object, "spec", "postgresql", "pg_ident", "*")
	want = slices.DeleteFunc(lines(t, "../../data-tier/pg_ident.conf"), ofServe)
	if got := without(identities, "migration data-tier postgres"); !slices.Equal(got, want) {
		t.Errorf("pg_ident:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// elsewhere are parameters of postgresql.conf that are not the same here, and why.
var elsewhere = map[string]string{
	"max_connections":      "more processes may be here",
	"shared_buffers":       "more memory is here",
	"effective_cache_size": "more memory is here",
	"ssl":                  "the operator's",
	"ssl_cert_file":        "spec.certificates",
	"ssl_key_file":         "spec.certificates",
	"ssl_ca_file":          "spec.certificates",
	"log_destination":      "the operator's: JSON",
	"logging_collector":    "the operator's: JSON",
	"log_line_prefix":      "the operator's: JSON",

	"wal_keep_size":          "the operator's: standbys",
	"max_slot_wal_keep_size": "the operator's: standbys",
	"wal_sender_timeout":     "the operator's: standbys",
	"wal_receiver_timeout":   "the operator's: standbys",
	"archive_timeout":        "the operator's: backups",
}

func TestPostgresRunsAsThere(t *testing.T) {
	parameters, _, err := unstructured.NestedStringMap(build(t, "base").named("Cluster", "data-tier").Object, "spec", "postgresql", "parameters")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, line := range lines(t, "../../data-tier/postgresql.conf") {
		name, value, _ := strings.Cut(line, " = ")
		said[name] = true
		if elsewhere[name] == "" && parameters[name] != strings.Trim(value, "'") {
			t.Errorf("%s is %q here and %s there", name, parameters[name], value)
		}
	}
	fixed := cloudNativePG.file(t, "pkg/postgres/configuration.go")
	_, fixed, _ = strings.Cut(fixed, "FixedConfigurationParameters = map[string]string{")
	fixed, _, _ = strings.Cut(fixed, "\n\t}")
	if !strings.Contains(fixed, `"ssl_cert_file":`) {
		t.Fatal("the operator's own parameters are not found")
	}
	for name := range parameters {
		if !said[name] {
			t.Errorf("%s is not in postgresql.conf", name)
		}
		if strings.Contains(fixed, `"`+name+`":`) {
			t.Errorf("%s is the operator's own: it would refuse the cluster", name)
		}
	}
}

var takes = regexp.MustCompile(`A logic tier takes (\d+) at most`)

// However far the logic tier is scaled, and while it is rolled, all its connections fit.
func TestConnectionsFit(t *testing.T) {
	text, err := os.ReadFile("../../data-tier/postgresql.conf")
	if err != nil {
		t.Fatal(err)
	}
	match := takes.FindSubmatch(text)
	if match == nil {
		t.Fatal("postgresql.conf does not say any more how many connections a logic tier takes")
	}
	each, _ := strconv.Atoi(string(match[1]))
	eachSite(t, func(t *testing.T, made manifests) {
		processes := 0
		for _, p := range made.pods(t) {
			if p.template != nil && p.owner.GetKind() == "Deployment" && p.program() == "logic-tier" {
				scaler := typed[autoscalingv2.HorizontalPodAutoscaler](t, made.named("HorizontalPodAutoscaler", p.owner.GetName()))
				processes += int(scaler.Spec.MaxReplicas) + typed[appsv1.Deployment](t, p.owner).Spec.Strategy.RollingUpdate.MaxSurge.IntValue()
			}
		}
		parameters, _, _ := unstructured.NestedStringMap(made.named("Cluster", "data-tier").Object, "spec", "postgresql", "parameters")
		most, err := strconv.Atoi(parameters["max_connections"])
		// A few are the operator's, and those who look.
		if err != nil || processes == 0 || processes*each+30 > most {
			t.Errorf("%d processes with %d connections do not fit in %q", processes, each, parameters["max_connections"])
		}
	})
}
