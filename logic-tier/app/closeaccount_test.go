package app

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/proto/transport"
)

// tables returns every table of the modules' schemas.
func (r *testTier) tables() (all []string) {
	r.t.Helper()
	return r.column(`
		select format('%I.%I', schemaname, tablename)
		from   pg_tables
		where  schemaname in ('accounts', 'talks', 'following', 'notifications', 'media', 'transfers', 'operations', 'queue')
		order by 1`)
}

func (r *testTier) column(statement string, arguments ...any) (all []string) {
	r.t.Helper()
	rows, err := r.database.Superuser().Query(statement, arguments...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, value)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *testTier) exec(statement string, arguments ...any) {
	r.t.Helper()
	if _, err := r.database.Superuser().Exec(statement, arguments...); err != nil {
		r.t.Fatal(err)
	}
}

// rowsContaining returns the rows of all tables that contain word, as text or as bytes.
func (r *testTier) rowsContaining(word string) (found []string) {
	r.t.Helper()
	for _, table := range r.tables() {
		for _, row := range r.column(`select left(t::text, 200) from `+table+` t where t::text ilike '%' || $1 || '%' or t::text ilike '%' || $2 || '%'`,
			word, hex.EncodeToString([]byte(word))) {
			found = append(found, table+": "+row)
		}
	}
	return found
}

// rowsOfAccount returns, for every table, how many rows reference the account's number.
func (r *testTier) rowsOfAccount(account int64) (found []string) {
	r.t.Helper()
	for _, named := range r.column(`
		select format('%I.%I where %I', table_schema, table_name, column_name)
		from   information_schema.columns
		where  table_schema in ('accounts', 'talks', 'following', 'notifications', 'media', 'transfers', 'operations')
		  and  column_name in ('account', 'account_id', 'owner_id')
		order by 1`) {
		for _, row := range r.column(`select count(*) from `+named+` = $1 having count(*) > 0`, account) {
			found = append(found, named+": "+row)
		}
	}
	return found
}

// populate creates rows for an account in every module. All its texts contain word.
func (r *testTier) populate(ctx context.Context, connection *grpc.ClientConn, account int64, word, channel, other string) {
	r.t.Helper()
	r.createChannel(ctx, connection, channel)
	r.exec(`update talks.channel set title = $1 where slug = $2`, "Channel "+word, channel)
	call := func(_ any, err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	id := func(n int) string { return fmt.Sprintf("%08d-0000-4000-8000-%012d", n, account) }
	talks := talkspb.NewTalksClient(connection)
	call(talks.CreateTalk(ctx, &talkspb.CreateTalkRequest{Parent: "channels/" + channel, RequestId: id(1), Talk: &talkspb.Talk{Title: "First " + word, Tags: []string{word}}}))
	withdrawn, err := talks.CreateTalk(ctx, &talkspb.CreateTalkRequest{Parent: "channels/" + channel, RequestId: id(2), Talk: &talkspb.Talk{Title: "Second " + word}})
	call(withdrawn, err)
	call(talks.WithdrawTalk(ctx, &talkspb.WithdrawTalkRequest{Name: withdrawn.Talk.Name}))
	call(followingpb.NewFollowingClient(connection).Follow(ctx, &followingpb.FollowRequest{Channel: "channels/" + other}))
	call(mediapb.NewMediaClient(connection).CreateUpload(ctx, &mediapb.CreateUploadRequest{FileName: word + ".mp4", ContentType: "video/mp4", Size: new(int64(1000))}))
	operation, err := transferspb.NewTransfersClient(connection).ExportArchive(ctx, &transferspb.ExportArchiveRequest{RequestId: id(3)})
	call(operation, err)
	var export transferspb.ExportArchiveResponse
	r.result(ctx, connection, operation.Name, &export)
	operation, err = transferspb.NewTransfersClient(connection).ImportCatalogue(ctx, &transferspb.ImportCatalogueRequest{Upload: export.File, RequestId: id(4)})
	call(operation, err)
	r.result(ctx, connection, operation.Name, &transferspb.ImportCatalogueResponse{})
	operation, err = transferspb.NewTransfersClient(connection).ExportArchive(ctx, &transferspb.ExportArchiveRequest{RequestId: id(5)})
	call(operation, err)
	r.result(ctx, connection, operation.Name, &export) // keeps an archive
	// Rows as processing a recording and rejecting a file would leave.
	r.exec(`
		with file as (
			insert into media.file (account, made, size, sha256) values ($1, false, 1, sha256('x')) returning id
		), chunk as (
			insert into media.chunk (file_id, number, bytes) select id, 0, $2::text::bytea from file
		), recording as (
			insert into media.recording (id, account, upload_id, operation, request, left_out)
			values (repeat(chr(97 + $1::integer), 26), $1, 'upload-' || $1, 'operation-' || $1, '', array[$2::text])
		)
		insert into media.recording_file (recording_id, name, file_id, place, content_type, file_name, width, height)
		select repeat(chr(97 + $1::integer), 26), 'original', id, 1, 'video/mp4', $2, 1, 1 from file`, account, word)
	r.exec(`insert into transfers.rejection (operation, number, path, reason) select operation, 1, $2, $2 from transfers.import where account_id = $1`, account, word)
	r.exec(`insert into transfers.archived (operation, number, start, path, stored, crc32, compressed_size, size)
		select operation, 1, 0, $2, true, 0, 0, 0 from transfers.export where account_id = $1`, account, word)
	r.exec(`insert into talks.draft (account_id, request_id, channel_id, talk) select $1, gen_random_uuid(), id, $2::text::bytea from talks.channel where slug = $3`, account, word, channel)
	r.exec(`insert into operations.operation (id, account_id, request_id, kind, title, subject, state, dispatched, input)
		values (repeat(chr(97 + $1::integer), 26), $1, 'stuck', 'recording', $2, '', 'running', true, $2::text::bytea)`, account, word)
	r.exec(`insert into operations.step (operation_id, number, text) values (repeat(chr(97 + $1::integer), 26), 1, $2)`, account, word)
}

// Closing an account deletes its data from every module, except its handle and the slug
// of its channel, which stay reserved. Other accounts' data stays.
func TestCloseAccountDeletesOnlyItsData(t *testing.T) {
	r := startTier(t)
	web := r.connect(transport.WebTier)
	// The test outlasts the contexts' deadlines.
	withoutDeadline := func(ctx context.Context) context.Context {
		session, _ := metadata.FromOutgoingContext(ctx)
		return metadata.NewOutgoingContext(t.Context(), session)
	}
	ada, grace := withoutDeadline(r.signUp(web, "ada")), withoutDeadline(r.signUp(web, "grace"))
	r.exec(`update accounts.account set display_name = case handle when 'ada' then 'quokka' else 'wombat' end`)
	clients := accountspb.NewAccountsClient(web)
	number := func(ctx context.Context) int64 {
		response, err := clients.GetCurrentAccount(ctx, &accountspb.GetCurrentAccountRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return response.Account.Id
	}
	adas, graces := number(ada), number(grace)
	// Both accounts follow each other's channel before the first talk.
	r.createChannel(grace, web, "gears")
	r.populate(ada, web, adas, "quokka", "looms", "gears")
	if _, err := talkspb.NewChannelsClient(web).CreateChannel(grace, &talkspb.CreateChannelRequest{ChannelId: "wheels", Title: "wombat"}); err != nil {
		t.Fatal(err)
	}
	r.populate(grace, web, graces, "wombat", "cranes", "looms")
	// A talk of each account reaches the other's inbox.
	for channel, publisher := range map[string]context.Context{"looms": ada, "gears": grace} {
		if _, err := talkspb.NewTalksClient(web).CreateTalk(publisher, &talkspb.CreateTalkRequest{
			Parent: "channels/" + channel, RequestId: "5f0c6a1e-0000-4000-8000-000000000002", Talk: &talkspb.Talk{Title: map[string]string{"looms": "Third quokka", "gears": "Third wombat"}[channel]},
		}); err != nil {
			t.Fatal(err)
		}
	}
	inbox := func(ctx context.Context) (titles map[string]bool) {
		response, err := notificationspb.NewNotificationsClient(web).ListNotifications(ctx, &notificationspb.ListNotificationsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		titles = map[string]bool{}
		for _, n := range response.Notifications {
			titles[n.Title] = true
		}
		return titles
	}
	r.waitFor("notifications in both inboxes", func() bool { return inbox(ada)["Third wombat"] && inbox(grace)["Third quokka"] })
	r.waitFor("an empty queue and no files to sweep", func() bool {
		return len(r.column(`select id from queue.message`))+len(r.column(`select id from media.file where removed`)) == 0
	})
	for table := range map[string]bool{"talks.talk": true, "media.file": true, "transfers.rejection": true, "operations.step": true, "notifications.event": true} {
		if len(r.column(`select 1 from `+table+` t where t::text like '%quokka%' or '`+table+`' = 'media.file'`)) == 0 {
			t.Fatalf("%s contains no row of the account, so the test would prove nothing", table)
		}
	}
	before := r.rowsContaining("wombat")

	if _, err := clients.CloseAccount(ada, &accountspb.CloseAccountRequest{Password: "a guess"}); reason(err) != "WRONG_PASSWORD" {
		t.Fatalf("CloseAccount with a wrong password: got %v, want WRONG_PASSWORD", err)
	}
	if _, err := clients.CloseAccount(ada, &accountspb.CloseAccountRequest{Password: "password of ada"}); err != nil {
		t.Fatal(err)
	}
	if _, err := clients.GetCurrentAccount(ada, &accountspb.GetCurrentAccountRequest{}); reason(err) != "SESSION_INVALID" {
		t.Errorf("session after CloseAccount: got %v, want SESSION_INVALID", err)
	}
	var remaining []string
	defer func() {
		if t.Failed() {
			t.Logf("remaining rows: %q", remaining)
		}
	}()
	r.waitFor("the account's rows to be deleted", func() bool {
		remaining = append(r.rowsContaining("quokka"), r.rowsOfAccount(adas)...)
		return len(remaining) == 0
	})
	if after := r.rowsContaining("wombat"); len(after) != len(before) {
		t.Errorf("the other account's rows: got %d, want %d:\n%q\n%q", len(after), len(before), after, before)
	}
	if !inbox(grace)["Removed talk"] {
		t.Errorf("the other account's inbox: got %v, want the removed talk", inbox(grace))
	}
	if follows, err := followingpb.NewFollowingClient(web).ListFollows(grace, &followingpb.ListFollowsRequest{}); err != nil || len(follows.Channels) != 0 {
		t.Errorf("the other account's follows: got %v, %v; want none", follows, err)
	}
	if dead := r.column(`select queue || ': ' || last_error from queue.dead_letter`); len(dead) > 0 {
		t.Errorf("dead letters: %q", dead)
	}
	// A closed account cannot be impersonated: its handle and slug are not free.
	if _, err := clients.SignUp(r.context(), &accountspb.SignUpRequest{Handle: "ada", Password: "password of ada"}); reason(err) != "HANDLE_TAKEN" {
		t.Errorf("signing up with the handle: got %v, want HANDLE_TAKEN", err)
	}
	if _, err := clients.SignIn(r.context(), &accountspb.SignInRequest{Handle: "ada", Password: "password of ada"}); reason(err) != "WRONG_CREDENTIALS" {
		t.Errorf("signing in: got %v, want WRONG_CREDENTIALS", err)
	}
	if _, err := talkspb.NewChannelsClient(web).CreateChannel(grace, &talkspb.CreateChannelRequest{ChannelId: "looms", Title: "Looms"}); reason(err) != "CHANNEL_EXISTS" {
		t.Errorf("creating a channel with the slug: got %v, want CHANNEL_EXISTS", err)
	}
}

// Streams, subscriptions and long polls end within seconds of their session, on every
// replica. Those of other sessions continue.
func TestStreamsEndWithTheirSession(t *testing.T) {
	r := startTierWith(t, func(s *settings) { s.operators = "ada,grace" })
	other := r.startPeer(func(*settings) {})
	web, replica := r.connect(transport.WebTier), other.connect(transport.WebTier)
	accounts := accountspb.NewAccountsClient(web)
	token := func(handle string) string {
		// Only the operator can sign up accounts with operators' handles.
		response, err := accountspb.NewAccountsClient(r.connect(transport.Operator)).SignUp(r.context(), &accountspb.SignUpRequest{Handle: handle, Password: "password of " + handle})
		if err != nil {
			t.Fatal(err)
		}
		return response.Session.Token
	}
	adas, graces := token("ada"), token("grace")
	const operation = "operations/aaaaaaaaaaaaaaaaaaaaaaaaaa"
	r.exec(`insert into operations.operation (id, account_id, request_id, kind, title, subject, state, dispatched, input)
		select 'aaaaaaaaaaaaaaaaaaaaaaaaaa', id, 'r', 'recording', '', '', 'running', true, '' from accounts.account where handle = 'ada'`)

	inboxes, err := notificationspb.NewNotificationsClient(replica).StreamNotifications(r.context())
	if err != nil {
		t.Fatal(err)
	}
	for number, session := range map[uint64]string{1: adas, 2: graces} {
		if err := inboxes.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
			Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: number, SessionToken: session},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	operations, err := operationspb.NewOperationStreamsClient(replica).StreamOperations(r.context())
	if err != nil {
		t.Fatal(err)
	}
	if err := operations.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Subscribe_{
		Subscribe: &operationspb.StreamOperationsRequest_Subscribe{Subscription: 1, Operation: operation, SessionToken: adas},
	}}); err != nil {
		t.Fatal(err)
	}
	for subscribed := 0; subscribed < 3; {
		if subscribed < 2 {
			if response, err := inboxes.Recv(); err != nil {
				t.Fatal(err)
			} else if response.GetSubscribed() != nil {
				subscribed++
			}
		} else if response, err := operations.Recv(); err != nil {
			t.Fatal(err)
		} else if response.GetSubscribed() != nil {
			subscribed++
		}
	}
	queues, err := queuepb.NewQueuesClient(replica).WatchQueues(r.withSession(adas), &queuepb.WatchQueuesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := queues.Recv(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	ctx := r.withSession(adas)
	go func() {
		_, err := longrunningpb.NewOperationsClient(replica).WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: operation, Timeout: durationpb.New(patience)})
		waited <- err
	}()

	if _, err := accounts.SignOut(r.withSession(adas), &accountspb.SignOutRequest{}); err != nil {
		t.Fatal(err)
	}
	for ended := false; !ended; {
		response, err := inboxes.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if end := response.GetEnded(); end != nil {
			ended = true
			if end.Subscription != 1 || end.Reason != "SESSION_INVALID" {
				t.Errorf("inbox subscription: got %v, want SESSION_INVALID for subscription 1", end)
			}
		}
	}
	for ended := false; !ended; {
		response, err := operations.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if end := response.GetEnded(); end != nil {
			ended = true
			if end.Reason != "SESSION_INVALID" {
				t.Errorf("operation subscription: got %v, want SESSION_INVALID", end)
			}
		}
	}
	for err = nil; err == nil; {
		_, err = queues.Recv()
	}
	if status.Code(err) != codes.Unauthenticated || reason(err) != "SESSION_INVALID" {
		t.Errorf("WatchQueues: got %v, want SESSION_INVALID", err)
	}
	if err := <-waited; reason(err) != "SESSION_INVALID" {
		t.Errorf("WaitOperation: got %v, want SESSION_INVALID", err)
	}
	// Grace's subscription continues.
	r.createChannel(r.withSession(graces), web, "gears")
	if _, err := followingpb.NewFollowingClient(web).Follow(r.withSession(graces), &followingpb.FollowRequest{Channel: "channels/gears"}); err != nil {
		t.Fatal(err)
	}
	if _, err := talkspb.NewTalksClient(web).CreateTalk(r.withSession(graces), &talkspb.CreateTalkRequest{
		Parent: "channels/gears", RequestId: "5f0c6a1e-0000-4000-8000-000000000002", Talk: &talkspb.Talk{Title: "Still here"},
	}); err != nil {
		t.Fatal(err)
	}
	for arrived := false; !arrived; {
		response, err := inboxes.Recv()
		if err != nil {
			t.Fatal(err)
		}
		arrived = response.GetArrived().GetNotification().GetTitle() == "Still here"
	}
}
