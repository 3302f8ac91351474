package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

// startPeer starts a second process of the tier on the same database, with changed settings.
func (r *testTier) startPeer(change func(*settings)) *testTier {
	r.t.Helper()
	other := &testTier{t: r.t, database: r.database, log: &logRecorder{}, settings: r.settings}
	other.settings.listenAddress, other.settings.adminAddress = "127.0.0.1:0", "127.0.0.1:0"
	change(&other.settings)
	other.serve()
	return other
}

// The notifications module works in a process of its own: it receives a talk published in
// the other process, and verifies sessions and lists followers over the network.
func TestModuleRunsInItsOwnProcess(t *testing.T) {
	rest := startTierWith(t, func(s *settings) {
		s.modules = strings.Join(without(transport.Modules, "notifications"), ",")
		s.peers = "notifications=127.0.0.1:1" // unused: no other module calls notifications
	})
	apart := rest.startPeer(func(s *settings) { s.modules, s.peers = "notifications", rest.settings.listenAddress })

	connection, inboxes := rest.connect("web-tier"), apart.connect("web-tier")
	ada, grace := rest.signUp(connection, "ada"), rest.signUp(connection, "grace")
	rest.createChannel(ada, connection, "looms")
	if _, err := followingpb.NewFollowingClient(connection).Follow(grace, &followingpb.FollowRequest{Channel: "channels/looms"}); err != nil {
		t.Fatal(err)
	}
	if _, err := talkspb.NewTalksClient(connection).CreateTalk(ada, &talkspb.CreateTalkRequest{
		Parent: "channels/looms", Talk: &talkspb.Talk{Title: "Apart"}, RequestId: "5f0c6a1e-0000-4000-8000-000000000002",
	}); err != nil {
		t.Fatal(err)
	}
	var titles []string
	rest.waitFor("the notification", func() bool {
		response, err := notificationspb.NewNotificationsClient(inboxes).ListNotifications(grace, &notificationspb.ListNotificationsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		titles = nil
		for _, n := range response.Notifications {
			titles = append(titles, n.Title)
		}
		return len(titles) > 0
	})
	if !slices.Equal(titles, []string{"Apart"}) {
		t.Errorf("inbox: got %q, want %q", titles, "Apart")
	}
	// Each process serves only its own modules.
	for name, c := range map[string]struct {
		connection *grpc.ClientConn
		call       func(*grpc.ClientConn) error
	}{
		"notifications in the other process": {connection, func(c *grpc.ClientConn) error {
			_, err := notificationspb.NewNotificationsClient(c).ListNotifications(grace, &notificationspb.ListNotificationsRequest{})
			return err
		}},
		"accounts in notifications' process": {inboxes, func(c *grpc.ClientConn) error {
			_, err := accountspb.NewAccountsClient(c).GetCurrentAccount(grace, &accountspb.GetCurrentAccountRequest{})
			return err
		}},
	} {
		if err := c.call(c.connection); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: got %v, want UNIMPLEMENTED", name, err)
		}
	}
	// Authentication is required in every process.
	if _, err := notificationspb.NewNotificationsClient(inboxes).ListNotifications(t.Context(), &notificationspb.ListNotificationsRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a session: got %v, want UNAUTHENTICATED", err)
	}
}

func without(names []string, excluded string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == excluded })
}

func TestStartFailsWithInvalidModulesOrPeers(t *testing.T) {
	r := startTier(t)
	for name, c := range map[string]struct {
		modules, peers, want string
	}{
		"unknown module":      {"notes", "127.0.0.1:9090", `no module "notes"; there are accounts, `},
		"no peers":            {"notifications", "", "set --peer accounts=host:port"},
		"missing peer":        {"notifications", "accounts=127.0.0.1:9090", "set --peer talks=host:port"},
		"peer without a port": {"notifications", "127.0.0.1", "host:port"},
		"peer of no module":   {"notifications", "notes=127.0.0.1:9090", `no module "notes"`},
	} {
		s := r.settings
		s.modules, s.peers, s.listenAddress, s.adminAddress = c.modules, c.peers, "127.0.0.1:0", "127.0.0.1:0"
		ctx, stop := context.WithTimeout(t.Context(), patience)
		err := newProcess(s, slog.New(slog.DiscardHandler)).serve(ctx)
		stop()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// The tier reports a data tier whose schema is too old, and becomes ready without a
// restart once it is migrated.
func TestStartWaitsForMigration(t *testing.T) {
	database := postgrestest.NewInstalled(t)
	superuser := database.Superuser()
	newest := schemas["talks"]
	if _, err := superuser.ExecContext(t.Context(), `delete from migrations.talks where version_id = $1`, newest); err != nil {
		t.Fatal(err)
	}
	options := database.Options("")
	r := &testTier{t: t, database: database, log: &logRecorder{}, settings: settings{
		listenAddress: "127.0.0.1:0", adminAddress: "127.0.0.1:0", dataAddress: options.Address, certificates: options.Certificates, scratch: t.TempDir(), work: true,
	}}
	r.start()
	r.waitFor("the log to report the old schema", func() bool { return r.log.find("waiting for the data tier to be migrated") != nil })
	if reason := r.log.find("waiting for the data tier to be migrated")["reason"].(string); !strings.Contains(reason, fmt.Sprintf("the schema talks has version %d, and this logic tier needs %d", newest-1, newest)) {
		t.Errorf("logged reason: got %q", reason)
	}
	r.waitFor("the fix in its health", func() bool {
		err := health(t.Context(), r.settings.adminAddress)
		return err != nil && strings.Contains(err.Error(), "migrate the data tier first")
	})
	if _, err := superuser.ExecContext(t.Context(), `insert into migrations.talks (version_id, is_applied) values ($1, true)`, newest); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the tier to be ready", func() bool { return health(t.Context(), r.settings.adminAddress) == nil })
}
