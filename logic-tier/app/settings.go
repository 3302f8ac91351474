package app

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// settings are the flags of the program.
type settings struct {
	listenAddress string
	adminAddress  string
	dataAddress   string
	certificates  string
	scratch       string
	storedLimit   int64 // GiB
	broker        string
	queues        string
	modules       string
	peers         string
	operators     string
	work          bool
}

func (s *settings) register(flags *flag.FlagSet) error {
	text := func(into *string, name, twin, standard, about string) {
		flags.StringVar(into, name, cmp.Or(os.Getenv(twin), standard), about+" ("+twin+")")
	}
	text(&s.listenAddress, "listen-address", "LISTEN_ADDRESS", "127.0.0.1:9090", "host:port to answer gRPC calls on")
	text(&s.adminAddress, "admin-address", "ADMIN_ADDRESS", "127.0.0.1:9091", "host:port for health and metrics, over plain HTTP")
	text(&s.dataAddress, "data-address", "DATA_ADDRESS", "127.0.0.1:54320", "host:port of the data tier, or of its primary and standbys separated by commas: the one that takes writes is used")
	text(&s.certificates, "certificates", "CERTIFICATES", "certificates", "directory with ca.crt, logic-tier.crt and logic-tier.key")
	text(&s.scratch, "scratch", "SCRATCH", "", "directory in which recordings are processed, with room for two of the largest; empty: one for temporary files")
	text(&s.broker, "broker", "BROKER", "", "message broker: amqps://host:port/vhost for RabbitMQ, logged in to by certificate, or amqp://user:password@host:port/vhost; empty: the data tier")
	text(&s.queues, "queues", "QUEUES", "", "names of the queues to work, separated by commas; empty: all")
	text(&s.modules, "modules", "MODULES", "", "names of the modules that are in this process, separated by commas; empty: all")
	text(&s.peers, "peer", "PEERS", "", "where the other modules are: host:port, or module=host:port, separated by commas")
	text(&s.operators, "operators", "OPERATORS", "", "handles of the accounts that can see and repair the queues, separated by commas; the operator certificate alone can sign them up")
	limit, err := strconv.ParseInt(cmp.Or(os.Getenv("STORED_LIMIT"), "0"), 10, 32)
	if err != nil {
		return fmt.Errorf("STORED_LIMIT: use a number of GiB, such as 50: %w", err)
	}
	flags.Int64Var(&s.storedLimit, "stored-limit", limit, "GiB that uploads and recordings may take on the data tier's disk before uploads are refused; 0: 50 (STORED_LIMIT)")
	work, err := strconv.ParseBool(cmp.Or(os.Getenv("WORK"), "true"))
	if err != nil {
		return fmt.Errorf("WORK: use true or false: %w", err)
	}
	flags.BoolVar(&s.work, "work", work, "serve works the queues too; false leaves that to \"logic-tier work\" (WORK)")
	return nil
}

// names reads a list of names.
func names(text string) (all []string) {
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}
