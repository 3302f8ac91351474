package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"time"
)

// settings are the flags of the program. Those that a tier has too are named as there,
// so that the doctor reads what the tier was told.
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
	text := func(into *string, name, twin, standard, about string) {
		flags.StringVar(into, name, cmp.Or(os.Getenv(twin), standard), about+" ("+twin+")")
	}
	text(&s.from, "from", "FROM", "", "which host this is: web, logic, data or operator")
	text(&s.logicAddress, "logic-address", "LOGIC_ADDRESS", "", "from web and operator: where the logic tier is, as the web tier is told: host:port, dns:///host:port, or several separated by commas")
	text(&s.dataAddress, "data-address", "DATA_ADDRESS", "", "from logic: host:port of the data tier, or of its primary and standbys separated by commas; from data: of itself and its partner")
	text(&s.broker, "broker", "BROKER", "", "from logic: the message broker, amqps://host:port/vhost; empty: there is none")
	text(&s.certificates, "certificates", "CERTIFICATES", "", "directory with ca.crt and the certificate and key of this host's program")
	text(&s.closed, "closed", "CLOSED", "", "host:ports that must not be reached from here, separated by commas: from web, the data tier's and the broker's")
	text(&s.dataHost, "data-host", "DATA_HOST", "", "from data: names and addresses under which the other hosts find this one, separated by commas")
	text(&s.dataDirectory, "data-directory", "DATA_DIRECTORY", "", "from data: where Postgres keeps its files")
	text(&s.archive, "archive", "ARCHIVE", "", "from data: directory of the WAL archive; empty: not looked at")
	text(&s.backups, "backups", "BACKUPS", "", "from data: directory of the backups; empty: not looked at")
	duration := func(into *time.Duration, name, twin, standard, about string) error {
		value, err := time.ParseDuration(cmp.Or(os.Getenv(twin), standard))
		if err != nil {
			return fmt.Errorf("%s: use a duration such as %s: %w", twin, standard, err)
		}
		flags.DurationVar(into, name, value, about+" ("+twin+")")
		return nil
	}
	// A backup a day, and some hours for making it.
	if err := duration(&s.backupAge, "backup-age", "BACKUP_AGE", "30h", "from data: how old the newest backup may be"); err != nil {
		return err
	}
	flags.BoolVar(&s.json, "json", false, "print JSON")
	return duration(&s.deadline, "deadline", "DEADLINE", "5s", "how long one check may take; silence for as long counts as no answer")
}

// missing is a setting without which a host cannot be judged.
func missing(twin, what, example string) check {
	return said(finding{wrong, "setting " + twin, "it is missing: " + what, "say it in the environment or .env, as in " + twin + "=" + example})
}
