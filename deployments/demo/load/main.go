// Command load brings the demo catalogue, accounts and recordings into a TechTalks that is a
// demo, and checks that any other has no demo accounts.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"techtalks.example/deployments/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	talksctl := flag.String("talksctl", "talksctl", "the program that imports")
	address := flag.String("logic-address", cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"), "host:port of the logic tier (LOGIC_ADDRESS)")
	certificates := flag.String("certificates", cmp.Or(os.Getenv("CERTIFICATES"), "certificates"), "directory with ca.crt, operator.crt and operator.key (CERTIFICATES)")
	catalogue := flag.String("catalogue", "catalogue", "folder of the catalogue")
	asked := flag.String("demo", os.Getenv("DEMO"), "true: load the demo; empty: check that there is none (DEMO)")
	flag.Parse()
	var err error
	said := "the catalogue, the demo accounts and their recordings are uploaded"
	switch *asked {
	case "true":
		if err = demo.Load(ctx, *talksctl, *address, *certificates, *catalogue); err == nil {
			err = demo.LoadRecordings(ctx, *address, *certificates)
		}
	case "":
		err = demo.Absent(ctx, *address, *certificates)
		said = "this site is no demo, and has no demo accounts; DEMO=true makes it one"
	default:
		err = fmt.Errorf("--demo (DEMO) %q: use true, or leave it unset", *asked)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	fmt.Println(said)
}
