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

// besides runs a second process of the tier on the same data, with other settings.
func (r *running) besides(change func(*settings)) *running {
	r.t.Helper()
	other := &running{t: r.t, database: r.database, log: &record{}, settings: r.settings}
	other.settings.listenAddress, other.settings.adminAddress = "127.0.0.1:0", "127.0.0.1:0"
	change(&other.settings)
	other.serve()
	return other
}

// A module that is taken out into a process of its own does what it did: a talk that is
// published in one process reaches an inbox that is in the other, whose reader's
// session is verified, and whose followers are listed, over the network.
func TestAModuleInAProcessOfItsOwn(t *testing.T) {
	rest := newRunningWith(t, func(s *settings) {
		s.modules = strings.Join(without(transport.Modules, "notifications"), ",")
		s.peers = "notifications=127.0.0.1:1" // nothing in the rest calls it
	})
	apart := rest.besides(func(s *settings) { s.modules, s.peers = "notifications", rest.settings.listenAddress })

	connection, inboxes := rest.as("web-tier"), apart.as("web-tier")
	ada, grace := rest.signedUp(connection, "ada"), rest.signedUp(connection, "grace")
	rest.channel(ada, connection, "looms")
	if _, err := followingpb.NewFollowingClient(connection).Follow(grace, &followingpb.FollowRequest{Channel: "channels/looms"}); err != nil {
		t.Fatal(err)
	}
	if _, err := talkspb.NewTalksClient(connection).CreateTalk(ada, &talkspb.CreateTalkRequest{
		Parent: "channels/looms", Talk: &talkspb.Talk{Title: "Apart"}, RequestId: "5f0c6a1e-0000-4000-8000-000000000002",
	}); err != nil {
		t.Fatal(err)
	}
	var titles []string
	rest.until("the notification", func() bool {
		answer, err := notificationspb.NewNotificationsClient(inboxes).ListNotifications(grace, &notificationspb.ListNotificationsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		titles = nil
		for _, n := range answer.Notifications {
			titles = append(titles, n.Title)
		}
		return len(titles) > 0
	})
	if !slices.Equal(titles, []string{"Apart"}) {
		t.Errorf("the inbox has %q", titles)
	}
	// Each process answers for its own modules alone.
	for name, c := range map[string]struct {
		at   *grpc.ClientConn
		call func(*grpc.ClientConn) error
	}{
		"notifications in the rest": {connection, func(c *grpc.ClientConn) error {
			_, err := notificationspb.NewNotificationsClient(c).ListNotifications(grace, &notificationspb.ListNotificationsRequest{})
			return err
		}},
		"accounts in notifications' process": {inboxes, func(c *grpc.ClientConn) error {
			_, err := accountspb.NewAccountsClient(c).GetCurrentAccount(grace, &accountspb.GetCurrentAccountRequest{})
			return err
		}},
	} {
		if err := c.call(c.at); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is no session stays none.
	if _, err := notificationspb.NewNotificationsClient(inboxes).ListNotifications(t.Context(), &notificationspb.ListNotificationsRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a session: %v", err)
	}
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == one })
}

// What cannot work is said before anything starts.
func TestModulesThatCannotBeTakenOut(t *testing.T) {
	r := newRunning(t)
	for name, c := range map[string]struct {
		modules, peers, says string
	}{
		"a module that is none":  {"notes", "127.0.0.1:9090", `there is no module "notes"; there are accounts, `},
		"nobody for the others":  {"notifications", "", "say where it is with --peer accounts=host:port"},
		"nobody for one of them": {"notifications", "accounts=127.0.0.1:9090", "say where it is with --peer talks=host:port"},
		"a peer that is none":    {"notifications", "127.0.0.1", "host:port"},
		"a peer for no module":   {"notifications", "notes=127.0.0.1:9090", `there is no module "notes"`},
	} {
		s := r.settings
		s.modules, s.peers, s.listenAddress, s.adminAddress = c.modules, c.peers, "127.0.0.1:0", "127.0.0.1:0"
		ctx, stop := context.WithTimeout(t.Context(), patience)
		err := newApp(s, slog.New(slog.DiscardHandler)).serve(ctx)
		stop()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// A data tier that was not migrated yet is waited for, visibly; migrated, it is used
// without a restart.
func TestAnOldSchemaIsWaitedFor(t *testing.T) {
	database := postgrestest.NewInstalled(t)
	inside := database.Superuser()
	newest := schemas["talks"]
	if _, err := inside.ExecContext(t.Context(), `delete from migrations.talks where version_id = $1`, newest); err != nil {
		t.Fatal(err)
	}
	options := database.Options("")
	r := &running{t: t, database: database, log: &record{}, settings: settings{
		listenAddress: "127.0.0.1:0", adminAddress: "127.0.0.1:0", dataAddress: options.Address, certificates: options.Certificates, scratch: t.TempDir(), work: true,
	}}
	r.begin()
	r.until("it says what it waits for", func() bool { return r.log.one("waiting for the data tier to be migrated") != nil })
	if said := r.log.one("waiting for the data tier to be migrated")["reason"].(string); !strings.Contains(said, fmt.Sprintf("the schema talks has version %d, and this logic tier needs %d", newest-1, newest)) {
		t.Errorf("it says %q", said)
	}
	if err := health(t.Context(), r.settings.adminAddress); err == nil || !strings.Contains(err.Error(), "migrate the data tier first") {
		t.Errorf("its health is %v", err)
	}
	if _, err := inside.ExecContext(t.Context(), `insert into migrations.talks (version_id, is_applied) values ($1, true)`, newest); err != nil {
		t.Fatal(err)
	}
	r.until("it is ready", func() bool { return health(t.Context(), r.settings.adminAddress) == nil })
}
