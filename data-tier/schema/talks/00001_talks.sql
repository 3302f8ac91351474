-- Channels, the talks on them, and how talks are found.

-- +goose Up

-- Words are folded (case, accents) and reduced to their stems as in English;
-- words of other languages mostly stay as they are, on both sides.
create text search configuration talks.words (copy = pg_catalog.english);
alter text search configuration talks.words
    alter mapping for hword, hword_part, word
    with extensions.unaccent, pg_catalog.english_stem;
alter text search configuration talks.words
    alter mapping for asciihword, asciiword, hword_asciipart
    with pg_catalog.english_stem;

create table talks.channel (
    id           bigint generated always as identity primary key,
    slug         text not null unique,
    title        text not null,
    description  text not null default '',
    -- Null for a channel that an operator imported.
    owner_id     bigint,
    owner_handle text not null default '',
    talk_count   bigint not null default 0,
    created_at   timestamptz not null default now()
) with (fillfactor = 90);
create index channel_by_title on talks.channel (lower(left(title, 100)), id);
create index channel_of_owner on talks.channel (owner_id, id desc) where owner_id is not null;

create table talks.talk (
    id               bigint generated always as identity primary key,
    channel_id       bigint not null references talks.channel (id),
    slug             text not null,
    title            text not null,
    speakers         text[] not null,
    language         text not null,
    tags             text[] not null,
    media_url        text not null,
    duration_seconds integer,
    recorded_on      date,
    published_at     timestamptz not null,
    updated_at       timestamptz not null default now(),
    withdrawn_at     timestamptz,
    -- Last and out of line: lists never read it.
    description      text not null,
    unique (channel_id, slug)
);
create index talk_latest on talks.talk (published_at desc, id desc) where withdrawn_at is null;
create index talk_of_channel on talks.talk (channel_id, published_at desc, id desc) where withdrawn_at is null;
create index talk_of_language on talks.talk (language, published_at desc, id desc) where withdrawn_at is null;
create index talk_tags on talks.talk using gin (tags) where withdrawn_at is null;

-- What a search reads, and nothing else: ranking half the talks for a common
-- word must not drag their descriptions along. Of a description the first 2,000
-- characters count, so that a vector mostly stays in its row.
create table talks.found (
    talk_id bigint primary key references talks.talk (id) on delete cascade,
    vector  tsvector not null
);
-- New words gather in a list and enter the index together: an import is twice
-- as quick. The list stays short, since every search reads it whole.
create index found_vector on talks.found using gin (vector) with (gin_pending_list_limit = 1024);

-- A form sent twice is one talk (AIP-155).
create table talks.request (
    id         uuid not null,
    account_id bigint not null,
    talk_id    bigint not null references talks.talk (id),
    created_at timestamptz not null default now(),
    primary key (account_id, id)
);
create index request_age on talks.request (created_at);

-- The words of a talk with their weights: the title's count most (A), then
-- speakers and tags (B), then the description's (D).
-- +goose StatementBegin
create function talks.vector(title text, speakers text[], tags text[], description text)
returns tsvector
language sql immutable parallel safe set search_path = ''
as $$
    select setweight(to_tsvector('talks.words', title), 'A')
        || setweight(to_tsvector('talks.words', array_to_string(speakers, ' ') || ' ' || array_to_string(tags, ' ')), 'B')
        || setweight(to_tsvector('talks.words', left(description, 2000)), 'D')
$$;
-- +goose StatementEnd

-- Withdrawn talks are not found; edited ones are found by their new words.
-- +goose StatementBegin
create function talks.keep_found() returns trigger
language plpgsql set search_path = ''
as $$
begin
    if new.withdrawn_at is not null then
        delete from talks.found where talk_id = new.id;
    else
        insert into talks.found (talk_id, vector)
        values (new.id, talks.vector(new.title, new.speakers, new.tags, new.description))
        on conflict (talk_id) do update set vector = excluded.vector;
    end if;
    return null;
end
$$;
-- +goose StatementEnd
create trigger keep_found_inserted after insert on talks.talk
    for each row execute function talks.keep_found();
create trigger keep_found_changed after update of title, speakers, tags, description, withdrawn_at on talks.talk
    for each row execute function talks.keep_found();

-- +goose Down
drop table talks.request, talks.found, talks.talk, talks.channel;
drop function talks.keep_found(), talks.vector(text, text[], text[], text);
drop text search configuration talks.words;
