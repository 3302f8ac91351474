package transfers_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

func TestImportIgnoresByproductsOfPackers(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	files := []packedFile{{"e/category.json", `{"title": "E"}`}, {"e/videos/one.json", `{"title": "One"}`}}
	for _, name := range []string{
		"__MACOSX/._e", "__MACOSX/e/._category.json", "__MACOSX/e/videos/._one.json", "__MACOSX/e/videos/one.json", "e/._category.json", "e/videos/._one.json", "._category.json",
		"e/.DS_Store", "e/videos/Thumbs.db", "e/videos/desktop.ini", "e/videos/.DS_Store",
	} {
		files = append(files, packedFile{name, "\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"})
	}
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			e.deleteTalks()
			want := &transferspb.ImportCatalogueResponse{Files: 13, ChannelsCreated: 1, TalksCreated: 1, Ignored: 11}
			if got := e.runImport(e.operatorContext(), pack(t, files)); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
