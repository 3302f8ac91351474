package app

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// settings are the program's flags.
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
	text := func(target *string, name, variable, fallback, help string) {
		flags.StringVar(target, name, cmp.Or(os.Getenv(variable), fallback), help+" ("+variable+")")
	}
	text(&s.listenAddress, "listen-address", "LISTEN_ADDRESS", "127.0.0.1:9090", "host:port to serve gRPC on")
	text(&s.adminAddress, "admin-address", "ADMIN_ADDRESS", "127.0.0.1:9091", "host:port to serve health and metrics on, over plain HTTP")
	text(&s.dataAddress, "data-address", "DATA_ADDRESS", "127.0.0.1:54320", "host:port of the data tier, or of its primary and standbys, separated by commas; the one that accepts writes is used")
	text(&s.certificates, "certificates", "CERTIFICATES", "certificates", "directory with ca.crt, logic-tier.crt and logic-tier.key")
	text(&s.scratch, "scratch", "SCRATCH", "", "directory for processing recordings, with space for two of the largest; empty: the directory for temporary files")
	text(&s.broker, "broker", "BROKER", "", "message broker: amqps://host:port/vhost for RabbitMQ with certificate login, or amqp://user:password@host:port/vhost; empty: the data tier")
	text(&s.queues, "queues", "QUEUES", "", "names of the queues to consume, separated by commas; empty: all")
	text(&s.modules, "modules", "MODULES", "", "names of the modules to run in this process, separated by commas; empty: all")
	text(&s.peers, "peer", "PEERS", "", "addresses of the other modules: host:port, or module=host:port, separated by commas")
	text(&s.operators, "operators", "OPERATORS", "", "handles of the accounts that can view and manage the queues, separated by commas; only the operator certificate can sign them up")
	limit, err := strconv.ParseInt(cmp.Or(os.Getenv("STORED_LIMIT"), "0"), 10, 32)
	if err != nil {
		return fmt.Errorf("STORED_LIMIT: use a number of GiB, such as 50: %w", err)
	}
	flags.Int64Var(&s.storedLimit, "stored-limit", limit, "maximum GiB of uploads and recordings on the data tier's disk; beyond it uploads are rejected; 0: 50 (STORED_LIMIT)")
	work, err := strconv.ParseBool(cmp.Or(os.Getenv("WORK"), "true"))
	if err != nil {
		return fmt.Errorf("WORK: use true or false: %w", err)
	}
	flags.BoolVar(&s.work, "work", work, "consume the queues in serve; false leaves them to \"logic-tier work\" (WORK)")
	return nil
}

// splitList splits a comma-separated list, and drops spaces and empty elements.
func splitList(list string) (elements []string) {
	for element := range strings.SplitSeq(list, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}
