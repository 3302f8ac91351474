package talks

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

const keepDraftStatement = `
insert into talks.draft as d (account_id, request_id, channel_id, talk, upload)
values ($1, $2, $3, $4, $5)
on conflict (account_id, request_id) do update set account_id = d.account_id
returning account_id, request_id, channel_id, talk, operation, upload`

func scanDraft(columns func(...any) error) (d draft, err error) {
	err = columns(&d.account, &d.requestID, &d.channelID, &d.talk, &d.operation, &d.upload)
	return d, err
}

// keepDraft keeps a draft, or returns the one that the same request made.
func (s store) keepDraft(ctx context.Context, d draft) (draft, error) {
	kept, _, err := postgres.One(ctx, s.db, scanDraft, keepDraftStatement, d.account, d.requestID, d.channelID, d.talk, d.upload)
	return kept, err
}

const draftOperationStatement = `
update talks.draft
set    operation = $3
where  account_id = $1
  and  request_id = $2`

func (s store) draftOperation(ctx context.Context, d draft, operation string) error {
	_, err := postgres.Exec(ctx, s.db, draftOperationStatement, d.account, d.requestID, operation)
	return err
}

const draftStatement = `
select account_id, request_id, channel_id, talk, operation, upload
from   talks.draft
where  account_id = $1
  and  request_id = $2`

func (s store) draft(ctx context.Context, account int64, requestID string) (draft, error) {
	d, found, err := postgres.One(ctx, s.db, scanDraft, draftStatement, account, requestID)
	if err == nil && !found {
		err = errDraftGone
	}
	return d, err
}

const draftOfStatement = `
select d.account_id, d.request_id, d.channel_id, d.talk, d.operation, d.upload, c.slug
from   talks.draft d
join   talks.channel c on c.id = d.channel_id
where  d.account_id = $1
  and  d.operation = $2`

// draftOf returns the draft of an account that an operation is to publish, and the slug
// of its channel.
func (s store) draftOf(ctx context.Context, account int64, operation string) (d draft, slug string, err error) {
	_, found, err := postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&d.account, &d.requestID, &d.channelID, &d.talk, &d.operation, &d.upload, &slug)
	}, draftOfStatement, account, operation)
	if err == nil && !found {
		err = errDraftGone
	}
	return d, slug, err
}

const removeDraftsStatement = `
delete from talks.draft
where  (account_id, request_id) in (select account_id, request_id
                                    from   talks.draft
                                    where  created_at <= now() - make_interval(secs => $1)
                                    limit  $2
                                    for    update skip locked)`

// removeDrafts removes at most so many drafts of that age, and says how many.
func (s store) removeDrafts(ctx context.Context, age time.Duration, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeDraftsStatement, age.Seconds(), most)
}

const lockChannelByIDStatement = `
select ` + channelColumns + `
from   talks.channel c
where  c.id = $1
for    no key update`

func (s store) lockChannelByID(ctx context.Context, tx *postgres.Tx, id int64) (channel, error) {
	c, found, err := postgres.One(ctx, tx, scanChannel, lockChannelByIDStatement, id)
	if err == nil && !found {
		err = errNoChannel
	}
	return c, err
}

const recordedStatement = `
select ` + wholeColumns + `
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  t.recording = $1
  and  t.recording > ''`

// recorded returns the talk of a recording; withdrawn ones too.
func (s store) recorded(ctx context.Context, tx *postgres.Tx, recording string) (talk, bool, error) {
	return postgres.One(ctx, tx, scanTalk, recordedStatement, recording)
}
