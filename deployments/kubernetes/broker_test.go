package kubernetes

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// operatorSettings maps the settings of deployments/broker/rabbitmq.conf that differ here to
// the reason.
var operatorSettings = map[string]string{
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

func TestRabbitMQSettingsMatchRabbitMQConf(t *testing.T) {
	broker := build(t, "overlays/rabbitmq").named("RabbitmqCluster", "broker")
	configured := map[string]string{}
	for line := range strings.Lines(paths(broker.Object, "spec", "rabbitmq", "additionalConfig")[0]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		configured[name] = value
	}
	for _, line := range lines(t, "../broker/rabbitmq.conf") {
		name, value, _ := strings.Cut(line, " = ")
		if operatorSettings[name] == "" && configured[name] != value {
			t.Errorf("%s: got %q, want %q", name, configured[name], value)
		}
	}
	if got := configured["load_definitions"]; !strings.HasPrefix(got, "/etc/rabbitmq/definitions/") {
		t.Errorf("load_definitions: got %q, want a file in the mounted folder", got)
	}
}

// kustomize reads no files above its own folder, so the definitions are a copy.
func TestBrokerDefinitionsMatchOriginal(t *testing.T) {
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
		t.Error("components/rabbitmq/definitions.json differs from deployments/broker/definitions.json: copy it")
	}
}
