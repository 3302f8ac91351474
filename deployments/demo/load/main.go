// Command load loads the demo catalogue, accounts and recordings into a demo site. On any other
// site it checks that no demo account exists.
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
	talksctl := flag.String("talksctl", "talksctl", "path of talksctl")
	address := flag.String("logic-address", cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"), "host:port of the logic tier (LOGIC_ADDRESS)")
	certificates := flag.String("certificates", cmp.Or(os.Getenv("CERTIFICATES"), "certificates"), "directory with ca.crt, operator.crt and operator.key (CERTIFICATES)")
	catalogue := flag.String("catalogue", "catalogue", "folder of the catalogue")
	mode := flag.String("demo", os.Getenv("DEMO"), "true: load the demo; empty: check that no demo account exists (DEMO)")
	flag.Parse()
	var err error
	result := "demo catalogue, accounts and recordings loaded"
	switch *mode {
	case "true":
		if err = demo.Load(ctx, *talksctl, *address, *certificates, *catalogue); err == nil {
			err = demo.LoadRecordings(ctx, *address, *certificates)
		}
	case "":
		err = demo.CheckAbsent(ctx, *address, *certificates)
		result = "no demo account exists; set DEMO=true to run a demo site"
	default:
		err = fmt.Errorf("--demo (DEMO) %q: use true or leave it empty", *mode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	fmt.Println(result)
}
