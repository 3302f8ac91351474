// Command load brings the demo catalogue and accounts into a TechTalks.
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
	flag.Parse()
	if err := demo.Load(ctx, *talksctl, *address, *certificates, *catalogue); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	fmt.Println("the catalogue and the demo accounts are there")
}
