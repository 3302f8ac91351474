package main

import (
	"log/slog"

	"techtalks.example/logic-tier/postgres"
	"techtalks.example/logic-tier/queue"
	"techtalks.example/logic-tier/queue/ledger"
	"techtalks.example/logic-tier/queue/postgresqueue"
)

// broker is the engine that the settings choose.
type broker struct {
	engine
	name string
}

// engine is what both engines do.
type engine interface {
	queue.Broker
	Registry() *ledger.Registry
	Up() error
}

func newBroker(s settings, db *postgres.DB, listen postgres.Options, log *slog.Logger) (broker, error) {
	return broker{postgresqueue.New(db, listen, log), postgresqueue.Engine}, nil
}
