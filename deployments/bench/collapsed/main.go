// Command collapsed is the channel page in one process: the handler, messages
// and SQL of the three-tier site, called as functions. What the tiers cost is
// measured against it; it serves nobody else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/logic-tier/modules/talks"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/web-tier/pages/channels"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

func main() {
	listen := flag.String("listen-address", "", "host:port to answer on")
	data := flag.String("data-address", "", "host:port of Postgres")
	certificates := flag.String("certificates", "", "directory with the logic tier's certificate")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, postgres.Options{Address: *data, Certificates: *certificates, Role: "talks", MaxConnections: 24}); err != nil {
		fmt.Fprintln(os.Stderr, "collapsed:", err)
		os.Exit(1)
	}
}

// run serves with the settings of both tiers, which are the same.
func run(ctx context.Context, address string, database postgres.Options) error {
	debug.SetGCPercent(400)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	db, err := postgres.Open(database)
	if err != nil {
		return err
	}
	defer db.Close()
	calls := make(direct)
	talks.New(talks.Deps{DB: db, Log: log}).Register(calls)
	site := &ui.Site{Tier: logicclient.NewTier(calls), Log: log, Host: "collapsed"}
	passage := server.New(log, prometheus.NewRegistry(), false, site.Caller, site.Refuse, site.ServeStale)
	mux := http.NewServeMux()
	mux.Handle("GET /channels/{channel}", passage.Admit(site.Page(logicclient.PageBudget, channels.Show)))
	answering := &http.Server{Addr: address, Handler: passage.Handler(mux), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stopping := context.AfterFunc(ctx, func() { _ = answering.Close() })
	defer stopping()
	if err := answering.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
