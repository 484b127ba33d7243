"""Every limit on what a file may cost to read: one place, so that each is known and can be argued about.

A file is data from somewhere else. A few bytes of it can ask for gigabytes or for minutes; what it asks
for is compared with these limits before it is granted, and the error names the limit. They are far above
what sound files need and low enough that a hostile one costs about as much as a large sound one.

    limit             default       what it bounds, and why so much
    MAX_PIXELS        50 million    pixels of an image or mask; a camera of 50 megapixels. Per data set:
                                    `max_pixels`.
    MAX_SCANS         100           scans of a JPEG. Progressive encoders write 3 to 14; each scan passes
                                    over the whole picture again.
    MAX_SCAN_RATIO    20            scans x pixels of a JPEG, in units of `max_pixels`: a picture of
                                    `max_pixels` may have 20 scans, twice what encoders write, a quarter
                                    of it 80.
    MAX_PARTS         300,000       segments of a JPEG, chunks of a PNG, blocks of a GIF: each costs
                                    microseconds, however small. 50 million pixels of GIF need 200,000.
    MAX_STRIPS        200,000       strips or tiles of a TIFF: each costs some ten microseconds. Tiles of
                                    16x16 for 50 million pixels.
    MAX_TIFF_TAGS     1,000         entries of a TIFF's directory; sound ones have 10 to 60.
    MAX_METADATA      1 MiB         text of a PNG that may tell its orientation; longer is passed over.
    MAX_IMAGE_BYTES   1 GiB         an image or mask file; 50 million pixels of 16 bytes are 0.8 GB.
    MAX_FILE_BYTES    4 GiB         any other file that is read whole: pairs (.bin), tables, annotations.
    MAX_INSTRUCTIONS  2 million     instructions of a pickle; lfw.bin has some 60,000.
    MAX_ARRAY_BYTES   2 GiB         all arrays of an .npz that are read, inflated. `NPZ(max_bytes=...)`.
    MAX_IDX_BYTES     256 MiB       an array of gzipped IDX, inflated; MNIST's largest has 47 MB.
    MAX_ARCHIVE_BYTES 512 MiB       a TAR archive, inflated; CIFAR-10's has 184 MB.
    MAX_EMPTY_CLASSES 1 million     classes of a data set with fewer records than classes: a count in a
                                    file may not make more names than there is anything to name.
"""

MAX_PIXELS = 50_000_000
MAX_SCANS = 100
MAX_SCAN_RATIO = 20
MAX_PARTS = 300_000
MAX_STRIPS = 200_000
MAX_TIFF_TAGS = 1_000
MAX_METADATA = 1 << 20
MAX_IMAGE_BYTES = 1 << 30
MAX_FILE_BYTES = 1 << 32
MAX_INSTRUCTIONS = 2_000_000
MAX_ARRAY_BYTES = 1 << 31
MAX_IDX_BYTES = 1 << 28
MAX_ARCHIVE_BYTES = 1 << 29
MAX_EMPTY_CLASSES = 1_000_000
