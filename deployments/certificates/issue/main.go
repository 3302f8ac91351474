// Command issue issues the tiers' certificates and renews those that are about to expire.
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
	directory := flag.String("directory", "certificates", "directory of the certificates")
	hosts := flag.String("hosts", "", "additional host names and addresses of the tiers, separated by commas")
	var deliveries []delivery
	flag.Func("deliver", "copy the certificate of a program to a folder, with a key that only the given user ID can read, as in web-tier=/folder:65532; repeatable", func(text string) error {
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
	issued, err := certificates.Issue(directory, names)
	if err != nil {
		return err
	}
	if len(issued) == 0 {
		fmt.Println("all certificates are valid")
	} else {
		fmt.Println("issued:", strings.Join(issued, ", "))
	}
	for _, d := range deliveries {
		if err := certificates.Deliver(directory, d.program, d.folder, d.uid); err != nil {
			return fmt.Errorf("deliver the certificate of %s: %w", d.program, err)
		}
	}
	return nil
}

// delivery is the destination of a program's certificate, and the owner of its key.
type delivery struct {
	program, folder string
	uid             int
}

func parseDelivery(text string) (delivery, error) {
	program, rest, found := strings.Cut(text, "=")
	folder, user, hasUser := strings.Cut(rest, ":")
	uid, err := strconv.Atoi(user)
	if !found || !hasUser || program == "" || folder == "" || err != nil {
		return delivery{}, fmt.Errorf("use program=folder:uid, as in web-tier=/web:65532")
	}
	return delivery{program, folder, uid}, nil
}
