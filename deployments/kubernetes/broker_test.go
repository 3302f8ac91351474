package kubernetes

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// ofOperator are settings of deployments/broker/rabbitmq.conf that are not the same
// here, and why.
var ofOperator = map[string]string{
	"listeners.tcp":                     "spec.tls.disableNonTLSListeners",
	"listeners.ssl.default":             "the operator's",
	"ssl_options.verify":                "spec.tls.caSecretName",
	"ssl_options.cacertfile":            "spec.tls",
	"ssl_options.certfile":              "spec.tls",
	"ssl_options.keyfile":               "spec.tls",
	"load_definitions":                  "another folder",
	"vm_memory_high_watermark.absolute": "the operator's, by spec.resources",
	"disk_free_limit.absolute":          "the operator's: 2 GB",
	"log.file":                          "the operator's",
}

func TestRabbitMQRunsAsThere(t *testing.T) {
	broker := build(t, "overlays/rabbitmq").named("RabbitmqCluster", "broker")
	here := map[string]string{}
	for line := range strings.Lines(paths(broker.Object, "spec", "rabbitmq", "additionalConfig")[0]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		here[name] = value
	}
	for _, line := range lines(t, "../broker/rabbitmq.conf") {
		name, value, _ := strings.Cut(line, " = ")
		if ofOperator[name] == "" && here[name] != value {
			t.Errorf("%s is %q here and %q there", name, here[name], value)
		}
	}
	if !strings.HasPrefix(here["load_definitions"], "/etc/rabbitmq/definitions/") {
		t.Error("the definitions are not where they are mounted")
	}
}

// kustomize reads no file above its own folder, so the definitions are a copy.
func TestDefinitionsAreTheSame(t *testing.T) {
	read := func(file string) (value any) {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &value)
		}
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if !reflect.DeepEqual(read("components/rabbitmq/definitions.json"), read("../broker/definitions.json")) {
		t.Error("components/rabbitmq/definitions.json is not deployments/broker/definitions.json: copy it")
	}
}
