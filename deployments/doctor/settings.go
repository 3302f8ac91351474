package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"time"
)

// settings are the flags of the program. Flags that a tier has too have the same names, so that
// doctor reads the tier's environment.
type settings struct {
	from          string
	logicAddress  string
	dataAddress   string
	broker        string
	certificates  string
	closed        string
	dataHost      string
	dataDirectory string
	archive       string
	backups       string
	backupAge     time.Duration
	deadline      time.Duration
	json          bool
}

func (s *settings) register(flags *flag.FlagSet) error {
	text := func(value *string, name, variable, defaultValue, usage string) {
		flags.StringVar(value, name, cmp.Or(os.Getenv(variable), defaultValue), usage+" ("+variable+")")
	}
	text(&s.from, "from", "FROM", "", "kind of this host: web, logic, data or operator")
	text(&s.logicAddress, "logic-address", "LOGIC_ADDRESS", "", "web, operator: logic tier, in the format of the web tier's flag: host:port, dns:///host:port, or several separated by commas")
	text(&s.dataAddress, "data-address", "DATA_ADDRESS", "", "logic: host:port of the data tier, or of its primary and standbys separated by commas; data: of this host and its partner")
	text(&s.broker, "broker", "BROKER", "", "logic: message broker, amqps://host:port/vhost; empty if there is none")
	text(&s.certificates, "certificates", "CERTIFICATES", "", "directory with ca.crt and the certificate and key of this host's program")
	text(&s.closed, "closed", "CLOSED", "", "host:port that must be unreachable from this host, separated by commas; on web, those of the data tier and the broker")
	text(&s.dataHost, "data-host", "DATA_HOST", "", "data: names and addresses that other hosts use for this one, separated by commas")
	text(&s.dataDirectory, "data-directory", "DATA_DIRECTORY", "", "data: data directory of Postgres")
	text(&s.archive, "archive", "ARCHIVE", "", "data: directory of the WAL archive; not checked if empty")
	text(&s.backups, "backups", "BACKUPS", "", "data: directory of the backups; not checked if empty")
	duration := func(value *time.Duration, name, variable, defaultValue, usage string) error {
		parsed, err := time.ParseDuration(cmp.Or(os.Getenv(variable), defaultValue))
		if err != nil {
			return fmt.Errorf("%s: use a duration such as %s: %w", variable, defaultValue, err)
		}
		flags.DurationVar(value, name, parsed, usage+" ("+variable+")")
		return nil
	}
	// The default is a daily backup plus some hours for its duration.
	if err := duration(&s.backupAge, "backup-age", "BACKUP_AGE", "30h", "data: maximum age of the newest backup"); err != nil {
		return err
	}
	flags.BoolVar(&s.json, "json", false, "print JSON")
	return duration(&s.deadline, "deadline", "DEADLINE", "5s", "timeout of one check")
}

// missing returns a check that reports a missing setting.
func missing(variable, description, example string) check {
	return report(finding{verdictWrong, "setting " + variable, "missing: " + description, "set it in the environment or .env, as in " + variable + "=" + example})
}
