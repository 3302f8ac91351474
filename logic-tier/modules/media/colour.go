package media

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// colours is the colour space of a video, in ffmpeg's terms.
type colours struct {
	matrix, transfer, primaries string
	// convert: ffmpeg can convert the colours to BT.709, and they need it.
	convert bool
}

// Transfer functions of HDR video (BT.2100: PQ and HLG), and primaries with a wider gamut
// than BT.709. Browsers show the renditions as SDR, so such video must be converted.
var (
	hdrTransfers  = []string{"smpte2084", "arib-std-b67"}
	widePrimaries = []string{"bt2020", "smpte431", "smpte432"}
)

// colours returns the stream's colour space. Players assume BT.709 for untagged video of
// 720 lines or more. Tagging it explicitly keeps its colours when it is scaled down.
func (s stream) colours(height int) colours {
	c := colours{matrix: known(s.Matrix), transfer: known(s.Transfer), primaries: known(s.Primaries)}
	switch {
	case c.wide():
		c.primaries = cmp.Or(c.primaries, "bt2020")
		c.matrix = cmp.Or(c.matrix, "bt2020nc")
		c.transfer = cmp.Or(c.transfer, "bt2020-10")
	case c.matrix == "" && height >= 720:
		c = colours{matrix: "bt709", transfer: cmp.Or(c.transfer, "bt709"), primaries: cmp.Or(c.primaries, "bt709")}
	}
	return c
}

// known returns a property that ffprobe reports, empty when ffprobe does not know it.
func known(property string) string {
	if property == "unknown" || property == "reserved" {
		return ""
	}
	return property
}

func (c colours) hdr() bool { return slices.Contains(hdrTransfers, c.transfer) }

// wide reports whether the video is HDR or can have colours outside of BT.709's gamut.
func (c colours) wide() bool { return c.hdr() || slices.Contains(widePrimaries, c.primaries) }

// tagFilter returns the filter that precedes scaling. It tags the frames with their colour
// space, in case the file does not.
func (c colours) tagFilter() string {
	if c.matrix == "" || c.transfer == "" || c.primaries == "" {
		return ""
	}
	return fmt.Sprintf("setparams=colorspace=%s:color_trc=%s:color_primaries=%s,", c.matrix, c.transfer, c.primaries)
}

// convertFilter returns the filter that follows scaling. It converts wide colours to
// BT.709 in linear light. Diffuse white (203 cd/m² in HDR, ITU-R BT.2408: paper, captions)
// maps to near white in SDR. Brighter values are compressed and keep their hue.
func (c colours) convertFilter() string {
	if !c.convert {
		return ""
	}
	filter := ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709"
	if c.hdr() {
		filter += ",tonemap=mobius:desat=0"
	}
	return filter + ",zscale=t=bt709:m=bt709:r=tv"
}

// fitFilter returns the filter that scales a picture down to fit into a box, with square
// pixels and even sides. It never scales up.
func fitFilter(width, height int) string {
	return fmt.Sprintf(`scale=w=max(2\,2*trunc(min(min(iw*max(1\,sar)\,%[1]d)\,%[2]d*dar)/2)):h=max(2\,2*trunc(min(min(ih*max(1\,1/sar)\,%[2]d)\,%[1]d/dar)/2)),setsar=1`, width, height)
}

// canConvertColours reports whether this build of ffmpeg has the filters that
// convertFilter uses.
func (t tools) canConvertColours(ctx context.Context, w *workDir) (bool, error) {
	missing := []string{"zscale", "tonemap"}
	_, err := command{
		program: t.ffmpeg, dir: w.path, timeout: probeTimeout, arguments: []string{"-hide_banner", "-v", "error", "-filters"},
	}.run(ctx, func(line string) {
		if fields := strings.Fields(line); len(fields) > 1 {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == fields[1] })
		}
	})
	return len(missing) == 0, err
}
