package app

import (
	"fmt"
	"log/slog"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

// broker is the queue engine selected by the settings.
type broker struct {
	engine
	name string
}

// engine is implemented by both queue engines.
type engine interface {
	queue.Broker
	// Registry returns the counters of this process's consumers.
	Registry() *ledger.Registry
	// Up returns nil while the engine's broker is reachable, or the reason why not.
	Up() error
}

func newBroker(s settings, db *postgres.DB, listen postgres.Options, log *slog.Logger) (broker, error) {
	if s.broker == "" {
		return broker{postgresqueue.New(db, listen, log), postgresqueue.Engine}, nil
	}
	rabbit, err := rabbitqueue.New(rabbitqueue.Options{URL: s.broker, Certificates: s.certificates, DB: db, Listen: listen, Log: log})
	if err != nil {
		return broker{}, fmt.Errorf("--broker (BROKER): %w", err)
	}
	return broker{rabbit, rabbitqueue.Engine}, nil
}
