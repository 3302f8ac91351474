package rabbitqueue_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/queuetest"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue/rabbittest"
)

// location is how the processes of the suite find its database and broker.
type location struct {
	Database postgres.Options
	URL      string
}

func TestMain(m *testing.M) {
	queuetest.Main(func() { postgrestest.Main(m) }, func(text string) (p queuetest.Process, err error) {
		var l location
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return p, err
		}
		open := func(role string) *postgres.DB {
			l.Database.Role = role
			db, openErr := postgres.Open(l.Database)
			err = errors.Join(err, openErr)
			return db
		}
		p.Module = open("talks")
		engine, engineErr := rabbitqueue.New(rabbitqueue.Options{
			URL: l.URL, Certificates: l.Database.Certificates, DB: open("queue"), Listen: l.Database, Log: slog.New(slog.DiscardHandler),
		})
		p.Engine = engine
		return p, errors.Join(err, engineErr)
	})
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) *queuetest.Env {
		database := postgrestest.New(t)
		broker := rabbittest.New(t, database.Options("queue").Certificates)
		return &queuetest.Env{
			Module: database.Open("talks"), Queue: database.Open("queue"), Superuser: database.Superuser(),
			Address: string(ledger.JSON(location{database.Options("queue"), broker.URL()})),
			Engine: func() queue.Broker {
				engine, err := rabbitqueue.New(rabbitqueue.Options{
					URL: broker.URL(), Certificates: database.Options("queue").Certificates,
					DB: database.Open("queue"), Listen: database.Options("queue"), Log: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				return engine
			},
		}
	})
}
