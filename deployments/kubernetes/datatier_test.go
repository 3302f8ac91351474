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

// lines returns the lines of a file without comments, with single spaces between words.
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

func without(all []string, excluded ...string) (rest []string) {
	for _, line := range all {
		if !slices.Contains(excluded, line) {
			rest = append(rest, line)
		}
	}
	return rest
}

// isServeOnly reports whether a line applies to "data-tier serve" only: the socket, and
// standbys, which the operator handles here.
func isServeOnly(line string) bool {
	return strings.HasPrefix(line, "local ") || strings.Contains(line+" ", " replicator ")
}

// The access rules match those of "data-tier serve", except that the migration connects over
// the network here, and over a socket there.
func TestAccessRulesMatchDataTier(t *testing.T) {
	cluster := build(t, "base").named("Cluster", "data-tier")
	access := paths(cluster.Object, "spec", "postgresql", "pg_hba", "*")
	want := slices.DeleteFunc(lines(t, "../../data-tier/pg_hba.conf"), isServeOnly)
	if got := without(access, "hostssl postgres,techtalks postgres all cert map=migration"); !slices.Equal(got, want) {
		t.Errorf("pg_hba:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The operator appends a rule that admits passwords.
	if last := access[len(access)-1]; last != "host all all all reject" {
		t.Errorf("got last rule %q, want a rejection of all connections", last)
	}
	identities := paths(cluster.Object, "spec", "postgresql", "pg_ident", "*")
	want = slices.DeleteFunc(lines(t, "../../data-tier/pg_ident.conf"), isServeOnly)
	if got := without(identities, "migration data-tier postgres"); !slices.Equal(got, want) {
		t.Errorf("pg_ident:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// differentParameters maps the parameters of postgresql.conf that differ here to the reason.
var differentParameters = map[string]string{
	"max_connections":      "more processes run here",
	"shared_buffers":       "more memory is available",
	"effective_cache_size": "more memory is available",
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

func TestPostgresParametersMatchPostgresqlConf(t *testing.T) {
	parameters, _, err := unstructured.NestedStringMap(build(t, "base").named("Cluster", "data-tier").Object, "spec", "postgresql", "parameters")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, line := range lines(t, "../../data-tier/postgresql.conf") {
		name, value, _ := strings.Cut(line, " = ")
		known[name] = true
		if differentParameters[name] == "" && parameters[name] != strings.Trim(value, "'") {
			t.Errorf("%s: got %q, want %s", name, parameters[name], value)
		}
	}
	fixed := cloudNativePG.file(t, "pkg/postgres/configuration.go")
	_, fixed, _ = strings.Cut(fixed, "FixedConfigurationParameters = map[string]string{")
	fixed, _, _ = strings.Cut(fixed, "\n\t}")
	if !strings.Contains(fixed, `"ssl_cert_file":`) {
		t.Fatal("no fixed parameters found in the operator's source")
	}
	for name := range parameters {
		if !known[name] {
			t.Errorf("%s is not in postgresql.conf", name)
		}
		if strings.Contains(fixed, `"`+name+`":`) {
			t.Errorf("%s is fixed by the operator, which would reject the cluster", name)
		}
	}
}

var connectionsComment = regexp.MustCompile(`A logic tier takes (\d+) at most`)

// The maximum number of replicas fits into max_connections, even during an update.
func TestConnectionsFitMaxConnections(t *testing.T) {
	text, err := os.ReadFile("../../data-tier/postgresql.conf")
	if err != nil {
		t.Fatal(err)
	}
	match := connectionsComment.FindSubmatch(text)
	if match == nil {
		t.Fatal("the comment in postgresql.conf on the connections of a logic tier is missing")
	}
	perProcess, _ := strconv.Atoi(string(match[1]))
	eachSite(t, func(t *testing.T, objects manifests) {
		processes := 0
		for _, p := range objects.pods(t) {
			if p.template != nil && p.owner.GetKind() == "Deployment" && p.program() == "logic-tier" {
				scaler := typed[autoscalingv2.HorizontalPodAutoscaler](t, objects.named("HorizontalPodAutoscaler", p.owner.GetName()))
				processes += int(scaler.Spec.MaxReplicas) + typed[appsv1.Deployment](t, p.owner).Spec.Strategy.RollingUpdate.MaxSurge.IntValue()
			}
		}
		parameters, _, _ := unstructured.NestedStringMap(objects.named("Cluster", "data-tier").Object, "spec", "postgresql", "parameters")
		maxConnections, err := strconv.Atoi(parameters["max_connections"])
		// 30 for the operator and administrators.
		if err != nil || processes == 0 || processes*perProcess+30 > maxConnections {
			t.Errorf("%d processes with %d connections each do not fit into max_connections %q", processes, perProcess, parameters["max_connections"])
		}
	})
}
