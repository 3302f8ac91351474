package app

import (
	"context"
	"errors"
	"slices"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/modules/accounts"
	"techtalks.example/logic-tier/modules/following"
	"techtalks.example/logic-tier/modules/media"
	"techtalks.example/logic-tier/modules/notifications"
	"techtalks.example/logic-tier/modules/talks"
	"techtalks.example/logic-tier/modules/transfers"
	"techtalks.example/logic-tier/platform/operations"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/inspection"
	"techtalks.example/logic-tier/platform/server"
	"techtalks.example/logic-tier/platform/sessions"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Connections a role may have. Together with those of two more processes and the
// operator's they stay below the data tier's 400.
const (
	accountsConnections      = 16
	talksConnections         = 24
	followingConnections     = 8
	notificationsConnections = 16
	mediaConnections         = 12
	transfersConnections     = 4
	operationsConnections    = 12
	queueConnections         = 8
)

// module answers calls, in whichever process it is.
type module interface{ Register(grpc.ServiceRegistrar) }

// runner is what a module does beside answering calls.
type runner interface{ Run(context.Context) error }

// consumer is a module that works queues.
type consumer interface{ Consumers() []queue.Consumer }

// part is a module that may be in a process: its name, the topology of its queues, and how it is made.
type part struct {
	name     string
	topology []queue.Topology
	make     func() module
}

// parts is what a process is made of.
type parts struct {
	broker    broker
	running   []runner
	topology  []queue.Topology
	consumers []queue.Consumer
}

// wire makes the modules of this process and registers them. It is the only place
// that knows every module. A module calls another through its client alone: to are
// the others, in this process or in another.
func (a *app) wire(srv *server.Server, to grpc.ClientConnInterface, watch *sessions.Watch, databases *databases, registry *prometheus.Registry) (parts, error) {
	open := databases.open
	var p parts
	operators, err := operators(a.settings.operators)
	if err != nil {
		return parts{}, err
	}
	queueDB := open("queue", queueConnections)
	if p.broker, err = newBroker(a.settings, queueDB, databases.options("queue", 0), a.log); err != nil {
		return parts{}, errors.Join(err, databases.err)
	}
	registry.MustRegister(p.broker.Registry())
	p.running = append(p.running, p.broker, watch)
	operationWork := operationspb.NewOperationWorkClient(to)
	mediaClient := mediapb.NewMediaClient(to)

	all := []part{
		{"accounts", []queue.Topology{accounts.Topology()}, func() module {
			return accounts.New(accounts.Needs{
				DB: open("accounts", accountsConnections), Publisher: p.broker, Operators: operators, Log: a.log,
			})
		}},
		{"talks", []queue.Topology{talks.Topology()}, func() module {
			return talks.New(talks.Needs{
				DB: open("talks", talksConnections), Publisher: p.broker, Media: mediaClient, Work: operationWork,
				Handles: longrunningpb.NewOperationsClient(to), Log: a.log,
			})
		}},
		{"following", []queue.Topology{following.Topology()}, func() module {
			return following.New(following.Needs{
				DB: open("following", followingConnections), Channels: talkspb.NewChannelsClient(to),
			})
		}},
		{"notifications", []queue.Topology{notifications.Topology()}, func() module {
			return notifications.New(notifications.Needs{
				DB: open("notifications", notificationsConnections), Listen: databases.options("notifications", 0),
				Accounts:  accountspb.NewAccountsClient(to),
				Following: followingpb.NewFollowingClient(to),
				Talks:     talkspb.NewTalksClient(to),
				Sessions:  watch,
				Metrics:   registry, Log: a.log,
			})
		}},
		{"media", media.Topology(), func() module {
			return media.New(media.Needs{
				DB: databases.openBinary("media", mediaConnections), Publisher: p.broker, Operations: operationWork, Scratch: a.settings.scratch,
				Limits: media.Limits{Total: a.settings.storedLimit << 30}, Log: a.log,
			})
		}},
		{"transfers", []queue.Topology{transfers.Topology()}, func() module {
			return transfers.New(transfers.Needs{
				DB: open("transfers", transfersConnections), Talks: talkspb.NewTalksClient(to), Channels: talkspb.NewChannelsClient(to),
				Media: mediaClient, Operations: operationWork, Log: a.log,
			})
		}},
		{"operations", []queue.Topology{operations.Topology()}, func() module {
			return operations.New(operations.Needs{
				DB: open("operations", operationsConnections), Listen: databases.options("operations", 0), Publisher: p.broker,
				Accounts: accountspb.NewAccountsClient(to), Sessions: watch, Log: a.log,
			})
		}},
	}
	// What is drawn is the queue of the whole system, also where this process has a
	// part of it.
	var drawn []queue.Topology
	for _, m := range all {
		drawn = append(drawn, m.topology...)
	}
	all = append(all, part{"queue", []queue.Topology{inspection.Topology()}, func() module {
		return inspection.New(inspection.Deps{
			DB: queueDB, Broker: p.broker, Engine: p.broker.name, BrokerHealth: p.broker.Up, Registry: p.broker.Registry(), Topologies: drawn, Log: a.log,
		})
	}})
	here := names(a.settings.modules)
	for _, one := range all {
		if len(here) > 0 && !slices.Contains(here, one.name) {
			continue
		}
		m := one.make()
		m.Register(srv)
		p.topology = append(p.topology, one.topology...)
		if runs, is := m.(runner); is {
			p.running = append(p.running, runs)
		}
		if consumes, is := m.(consumer); is {
			p.consumers = append(p.consumers, consumes.Consumers()...)
		}
	}
	return p, databases.err
}
