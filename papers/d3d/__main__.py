"""python -m papers.d3d"""

from papers.d3d.run import main

main()
