// Command collapsed serves the channel page from one process: the handler, messages and SQL of the
// three-tier site, called as functions. It is the baseline for the cost of the tiers.
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
	listen := flag.String("listen-address", "", "host:port to listen on")
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

// run serves the page with the settings that both tiers use.
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
	middleware := server.New(log, prometheus.NewRegistry(), false, site.Caller, site.Refuse, site.ServeStale)
	mux := http.NewServeMux()
	mux.Handle("GET /channels/{channel}", middleware.Admit(site.Page(logicclient.PageBudget, channels.Show)))
	httpServer := &http.Server{Addr: address, Handler: middleware.Handler(mux), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = httpServer.Close() })
	defer stop()
	if err := httpServer.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
