// Command issue makes the tiers' certificates, and renews those that expire.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"techtalks.example/deployments/certificates"
)

func main() {
	directory := flag.String("directory", "certificates", "where the certificates are")
	hosts := flag.String("hosts", "", "more names and addresses of the tiers' hosts, separated by commas")
	var deliveries []delivery
	flag.Func("deliver", "copy a program's certificate, as in web-tier=/folder:65532, with the key for that user id alone; repeatable", func(text string) error {
		d, err := parseDelivery(text)
		deliveries = append(deliveries, d)
		return err
	})
	flag.Parse()
	if err := run(*directory, *hosts, deliveries); err != nil {
		fmt.Fprintln(os.Stderr, "issue:", err)
		os.Exit(1)
	}
}

func run(directory, hosts string, deliveries []delivery) error {
	var names []string
	for name := range strings.SplitSeq(hosts, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	made, err := certificates.Issue(directory, names)
	if err != nil {
		return err
	}
	if len(made) == 0 {
		fmt.Println("all certificates are good")
	} else {
		fmt.Println("made:", strings.Join(made, ", "))
	}
	for _, d := range deliveries {
		if err := certificates.Deliver(directory, d.program, d.folder, d.uid); err != nil {
			return fmt.Errorf("deliver the certificate of %s: %w", d.program, err)
		}
	}
	return nil
}

// delivery is where a program's certificate goes, and to whom.
type delivery struct {
	program, folder string
	uid             int
}

func parseDelivery(text string) (delivery, error) {
	program, rest, found := strings.Cut(text, "=")
	folder, user, owned := strings.Cut(rest, ":")
	uid, err := strconv.Atoi(user)
	if !found || !owned || program == "" || folder == "" || err != nil {
		return delivery{}, fmt.Errorf("use program=folder:uid, as in web-tier=/web:65532")
	}
	return delivery{program, folder, uid}, nil
}
