package talks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/modules/talks"
	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

var (
	ada   = caller.Person{ID: 1, Handle: "ada"}
	grace = caller.Person{ID: 2, Handle: "grace"}
)

// hearer is a queue bound to what the module says.
const hearer = "hearer"

// site is the module with a database of its own.
type site struct {
	talks    talkspb.TalksServer
	channels talkspb.ChannelsServer
	module   *talks.Module
	admin    *sql.DB
	media    *media
	work     *work
	// outside is a pool of the role "media", and broker what it publishes with.
	outside *postgres.DB
	broker  *postgresqueue.Queue
}

func (s *site) RegisterService(_ *grpc.ServiceDesc, service any) {
	switch service := service.(type) {
	case talkspb.TalksServer:
		s.talks = service
	case talkspb.ChannelsServer:
		s.channels = service
	}
}

func newSite(t testing.TB) *site {
	t.Helper()
	database := postgrestest.New(t)
	log := slog.New(slog.DiscardHandler)
	broker := postgresqueue.New(database.Open("queue"), database.Options("queue"), log)
	if err := broker.Declare(t.Context(), talks.Topology(), queue.Topology{
		Queues: []queue.Queue{{Name: hearer, Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.published"}}}},
	}); err != nil {
		t.Fatal(err)
	}
	s := &site{admin: database.Superuser(), outside: database.Open("media"), broker: broker}
	s.media, s.work = &media{}, &work{}
	s.module = talks.New(talks.Needs{DB: database.Open("talks"), Publisher: broker, Media: s.media, Work: s.work, Handles: handles{}, Log: log})
	s.module.Register(s)
	return s
}

// as returns the context of a call made for a person.
func as(t testing.TB, p caller.Person) context.Context {
	return caller.With(t.Context(), caller.Call{Program: "web-tier", Person: &p})
}

// wants fails the test unless err is a failure for the reason.
func wants(t testing.TB, err error, reason string) *apperror.Failure {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Fatalf("got %v, want %s", err, reason)
	}
	return f
}

// wantsField fails the test unless err is about that field alone.
func wantsField(t testing.TB, err error, field string) {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Kind != apperror.Invalid || len(f.Violations) != 1 || f.Violations[0].Field != field {
		t.Fatalf("got %v, want something about %s", err, field)
	}
}

// channel makes a channel of a person's and returns its name.
func (s *site) channel(t testing.TB, p caller.Person, slug string) string {
	t.Helper()
	answer, err := s.channels.CreateChannel(as(t, p), &talkspb.CreateChannelRequest{ChannelId: slug, Title: "Channel " + slug})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Channel.Name
}

// publish publishes a talk on a channel of a person's.
func (s *site) publish(t testing.TB, p caller.Person, channel string, talk *talkspb.Talk) *talkspb.Talk {
	t.Helper()
	answer, err := s.talks.CreateTalk(as(t, p), &talkspb.CreateTalkRequest{Parent: channel, Talk: talk})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Talk
}

func (s *site) list(t testing.TB, r *talkspb.ListTalksRequest) *talkspb.ListTalksResponse {
	t.Helper()
	answer, err := s.talks.ListTalks(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// titles returns what a list's talks are called.
func titles(answer *talkspb.ListTalksResponse) []string {
	var all []string
	for _, talk := range answer.Talks {
		all = append(all, talk.Title)
	}
	return all
}

// said returns how many messages wait in the hearer's queue.
func (s *site) said(t testing.TB) (n int) {
	t.Helper()
	if err := s.admin.QueryRow(`
		select count(*)
		from   queue.message m
		join   queue.queue q on q.id = m.queue_id
		where  q.name = $1`, hearer).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// countsAreRight fails the test unless every channel's count of talks is what
// it has.
func (s *site) countsAreRight(t testing.TB) {
	t.Helper()
	var wrong string
	err := s.admin.QueryRow(`
		select c.slug || ': ' || c.talk_count || ' instead of ' || count(t.id)
		from   talks.channel c
		left join talks.talk t on t.channel_id = c.id and t.withdrawn_at is null
		group by c.id
		having c.talk_count <> count(t.id)
		limit  1`).Scan(&wrong)
	if !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("%s, %v", wrong, err)
	}
}

// imported adds talks to an event's channel, from the titles given.
func (s *site) imported(t testing.TB, event string, named ...string) {
	t.Helper()
	r := &talkspb.BatchImportTalksRequest{Channels: []*talkspb.Channel{{Name: "channels/" + event, Title: event}}}
	for i, title := range named {
		r.Talks = append(r.Talks, &talkspb.Talk{Name: fmt.Sprintf("channels/%s/talks/talk-%d", event, i), Title: title})
	}
	if _, err := s.talks.BatchImportTalks(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
