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

// Maximum connections per role. Three processes and the operator together stay below
// the data tier's limit of 400.
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

// module serves calls.
type module interface{ Register(grpc.ServiceRegistrar) }

// runner runs in the background until its context is cancelled.
type runner interface{ Run(context.Context) error }

// consumer consumes queues.
type consumer interface{ Consumers() []queue.Consumer }

// moduleSpec describes a module that a process can run.
type moduleSpec struct {
	name     string
	topology []queue.Topology
	create   func() module
}

// assembly holds the components of a process.
type assembly struct {
	broker    broker
	runners   []runner
	topology  []queue.Topology
	consumers []queue.Consumer
}

// assemble creates the modules of this process and registers them with srv. It is the only
// function that creates modules. Modules call each other only through the clients of
// modules, which routes to this process or to a peer.
func (p *process) assemble(srv *server.Server, modules grpc.ClientConnInterface, watch *sessions.Watch, databases *databases, registry *prometheus.Registry) (assembly, error) {
	open, log := databases.open, p.log
	operators, err := parseOperators(p.settings.operators)
	if err != nil {
		return assembly{}, err
	}
	queueDB := open("queue", queueConnections)
	broker, err := newBroker(p.settings, queueDB, databases.options("queue", 0), log)
	if err != nil {
		return assembly{}, errors.Join(err, databases.err)
	}
	registry.MustRegister(broker.Registry())
	result := assembly{broker: broker, runners: []runner{broker, watch}}
	operationWork := operationspb.NewOperationWorkClient(modules)
	mediaClient := mediapb.NewMediaClient(modules)

	specs := []moduleSpec{
		{"accounts", []queue.Topology{accounts.Topology()}, func() module {
			return accounts.New(accounts.Deps{
				DB: open("accounts", accountsConnections), Publisher: broker, Operators: operators, Log: log,
			})
		}},
		{"talks", []queue.Topology{talks.Topology()}, func() module {
			return talks.New(talks.Deps{
				DB: open("talks", talksConnections), Publisher: broker, Media: mediaClient, Work: operationWork,
				Handles: longrunningpb.NewOperationsClient(modules), Log: log,
			})
		}},
		{"following", []queue.Topology{following.Topology()}, func() module {
			return following.New(following.Deps{
				DB: open("following", followingConnections), Channels: talkspb.NewChannelsClient(modules),
			})
		}},
		{"notifications", []queue.Topology{notifications.Topology()}, func() module {
			return notifications.New(notifications.Deps{
				DB: open("notifications", notificationsConnections), Listen: databases.options("notifications", 0),
				Accounts:  accountspb.NewAccountsClient(modules),
				Following: followingpb.NewFollowingClient(modules),
				Talks:     talkspb.NewTalksClient(modules),
				Sessions:  watch,
				Metrics:   registry, Log: log,
			})
		}},
		{"media", media.Topology(), func() module {
			return media.New(media.Deps{
				DB: databases.openBinary("media", mediaConnections), Publisher: broker, Operations: operationWork, Scratch: p.settings.scratch,
				Limits: media.Limits{TotalBytes: p.settings.storedLimit << 30}, Log: log,
			})
		}},
		{"transfers", []queue.Topology{transfers.Topology()}, func() module {
			return transfers.New(transfers.Deps{
				DB: open("transfers", transfersConnections), Talks: talkspb.NewTalksClient(modules), Channels: talkspb.NewChannelsClient(modules),
				Media: mediaClient, Operations: operationWork, Log: log,
			})
		}},
		{"operations", []queue.Topology{operations.Topology()}, func() module {
			return operations.New(operations.Deps{
				DB: open("operations", operationsConnections), Listen: databases.options("operations", 0), Publisher: broker,
				Accounts: accountspb.NewAccountsClient(modules), Sessions: watch, Log: log,
			})
		}},
	}
	// The queue module shows the topology of the whole system, including modules that
	// other processes run.
	var topologies []queue.Topology
	for _, spec := range specs {
		topologies = append(topologies, spec.topology...)
	}
	specs = append(specs, moduleSpec{"queue", []queue.Topology{inspection.Topology()}, func() module {
		return inspection.New(inspection.Deps{
			DB: queueDB, Broker: broker, Engine: broker.name, BrokerHealth: broker.Up, Registry: broker.Registry(), Topologies: topologies, Log: log,
		})
	}})
	selected := splitList(p.settings.modules)
	for _, spec := range specs {
		if len(selected) > 0 && !slices.Contains(selected, spec.name) {
			continue
		}
		m := spec.create()
		m.Register(srv)
		result.topology = append(result.topology, spec.topology...)
		if r, ok := m.(runner); ok {
			result.runners = append(result.runners, r)
		}
		if c, ok := m.(consumer); ok {
			result.consumers = append(result.consumers, c.Consumers()...)
		}
	}
	return result, databases.err
}
