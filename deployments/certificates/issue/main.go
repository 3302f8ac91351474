// Command issue makes the tiers' certificates, and renews those that expire.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"techtalks.example/deployments/certificates"
)

func main() {
	directory := flag.String("directory", "certificates", "where the certificates are")
	hosts := flag.String("hosts", "", "more names and addresses of the tiers' hosts, separated by commas")
	flag.Parse()
	var names []string
	for name := range strings.SplitSeq(*hosts, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	made, err := certificates.Issue(*directory, names)
	if err != nil {
		fmt.Fprintln(os.Stderr, "issue:", err)
		os.Exit(1)
	}
	if len(made) == 0 {
		fmt.Println("all certificates are good")
		return
	}
	fmt.Println("made:", strings.Join(made, ", "))
}
